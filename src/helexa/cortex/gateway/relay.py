"""One request on its way: from the caller's exchange to a neuron's stream, and the bytes back.

It is the handler of the tunnel stream and of the exchange at once. Everything here is called back
with bytes; nothing waits, and no chunk is parsed.

    new ─► waiting (for a model, for a seat) ─► sent ─► answering ─► over
              └────────────────┴──────────────────┴──────────┴─────────► over (refused, cut, gone)

From `sent` and `answering` it may go back to waiting, when another neuron takes over.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from helexa.cortex.gateway import headers
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.metering import Outcome, outcome_of, outcome_of_status
from helexa.cortex.gateway.neuron_words import (
    CANCELLED,
    EXPIRED,
    read_head,
    read_reset,
    read_trailer,
)
from helexa.cortex.gateway.resume import NOT_KEPT
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.dialects.dialect import OPENAI, Dialect
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import ResponseHead, Trailer
from helexa.protocol.ports import Principal
from helexa.protocol.tunnel import Stream, StreamHandler
from helexa.protocol.workload import WorkloadClass

if TYPE_CHECKING:
    from helexa.cortex.gateway.pipeline import Pipeline

ANSWER_BYTES_MAX: Final = 64 << 20
KEEPALIVE: Final = b": keep-alive\n\n"


class Relay(StreamHandler):
    """One request from its acceptance to its end. `Pipeline.conclude` hears of the end, once."""

    __slots__ = (
        "_at_boundary",
        "_collected",
        "_committed",
        "_done",
        "_done_held",
        "_kept_alive_s",
        "_now",
        "_owed_bytes",
        "_pipeline",
        "_response",
        "attempts",
        "because",
        "beside_first",
        "beside_last",
        "bytes_out",
        "code",
        "dialect",
        "exchange",
        "excluded",
        "first_byte_s",
        "head",
        "heard_s",
        "kept",
        "model_id",
        "otherwise",
        "outcome",
        "over",
        "own_lines",
        "principal",
        "replica",
        "routed",
        "seated_s",
        "started_s",
        "status",
        "stream",
        "trailer",
        "waits",
        "workload_class",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: "Pipeline",
        exchange: Exchange,
        head: RequestHead,
        principal: Principal,
        workload_class: WorkloadClass,
        now_s: float,
        dialect: Dialect,
    ) -> None:
        self._pipeline = pipeline
        self._now = pipeline.now
        self.exchange = exchange
        self.head = head
        self.dialect, self._done = dialect, dialect.done
        self.principal = principal
        self.workload_class = workload_class
        self.model_id = head.model or ""
        self.started_s = self._kept_alive_s = self.heard_s = now_s
        # Heard: when the neuron or we last had something to say, the base of all that time does.
        self.first_byte_s: float | None = None
        self.waits = False
        """It waits, for a model or for a seat: see `waiting`."""
        self.seated_s: float | None = None
        """Since when it is on its replica; None while it is on none."""
        self.replica: Replica | None = None
        self.routed: tuple[RoutingRequest, RoutingDecision] | None = None
        """What the router was told and must hear the end of."""
        self.own_lines = b"" if dialect is OPENAI else dialect.answer_lines(exchange.request_id)
        """Header lines that the answer has beside those of all: its dialect's, and its route."""
        self.stream: Stream | None = None
        # Beside: how many requests its replica had with it, when it came and when it left.
        self.attempts = self.beside_first = self.beside_last = 0
        self.excluded: tuple[Replica, ...] = ()
        self.otherwise: Refusal | None = None
        """What to tell where no other replica can take it: why the last one did not."""
        self.kept = NOT_KEPT
        """What it was so far, of a stream that another neuron could continue."""
        self.over = False
        self.outcome = Outcome.OK
        self.status = 0
        self.code = ""
        self.because = ""
        self.trailer: Trailer | None = None
        self.bytes_out = 0
        self._response: ResponseHead | None = None
        self._committed = False
        self._collected: bytearray | None = None
        """Of an answer that is told in one piece."""
        self._owed_bytes = 0
        self._at_boundary = True
        self._done_held = False

    def sent(self, replica: Replica, stream: Stream) -> None:
        """The request is on its way to a replica."""
        self.replica = replica
        self.stream = stream
        self.model_id = replica.model_id
        self.heard_s = self.seated_s = self._now()

    # ── what the neuron says ──────────────────────────────────────────────────────────────────

    def on_head(self, payload: bytes) -> None:
        """Take the status; a stream that goes well is committed to the caller now."""
        response = read_head(payload)
        if self._response is not None and not isinstance(response, str):
            response = "a second head has no place here"
        if isinstance(response, str):
            self._give_up_on(response)
            return
        self._response = response
        self.status = response.status
        self.heard_s = self._now()
        if self.head.stream and response.status == 200:
            if not self._committed:
                self._commit(response)
            if self.kept is NOT_KEPT and self.replica is not None:
                self.kept = self._pipeline.failover.kept_for(self, self.replica)

    def on_data(self, data: bytes) -> None:
        """Pass bytes on. Bytes that the caller cannot take yet are not given back as credit."""
        stream = self.stream
        if stream is None or self.over:
            return
        now_s = self._now()
        self.heard_s = now_s
        size = len(data)
        if not self._committed or self._response is None or self._response.status != 200:
            self._collect(data)
            stream.consumed(size)
            return
        if self.first_byte_s is None and not data.startswith(b":"):
            self.first_byte_s = now_s
        if data.endswith(self._done):
            # The end of a stream is said only after it was booked: see `on_end`.
            self._done_held = True
            end = self.dialect.ending_at(data)
            data, self._done = data[:end], data[end:]
        kept = self.kept
        if not kept.given_up:
            data = kept.take(data)
        exchange = self.exchange
        if data:
            self._at_boundary = data.endswith(b"\n\n")
            self.bytes_out += len(data)
            exchange.write(data)
        if exchange.paused:
            self._owed_bytes += size
        else:
            stream.consumed(size)

    def _give_up_on(self, because: str) -> None:
        """The neuron broke the rules of an answer: tell both sides, and end it."""
        because = f"the neuron's answer could not be understood: {because}"
        self.abandon(Refusal(ErrorCode.ENGINE_GARBAGE, because))

    def _collect(self, data: bytes) -> None:
        if self._response is None:
            self._give_up_on("its body came before its head")
            return
        if self.first_byte_s is None:
            self.first_byte_s = self.heard_s
        if self._collected is None:
            self._collected = bytearray()
        self._collected += data
        if len(self._collected) > ANSWER_BYTES_MAX:
            because = f"the answer has more than {ANSWER_BYTES_MAX} bytes"
            self.abandon(Refusal(ErrorCode.ENGINE_GARBAGE, because))

    def on_answer(self, head: bytes, body: bytes, trailer: bytes) -> None:
        """Book a whole answer and pass it on: the way of nearly every request without a stream."""
        known = self._pipeline.answer_heads[head]
        if known is None or self.over or self.head.stream or self._collected:
            super().on_answer(head, body, trailer)
            return
        self.first_byte_s = self._now()
        self.status = known.status
        self.bytes_out = len(body)
        self.stream = None
        self.trailer = read_trailer(trailer)
        self._conclude(known.outcome)
        exchange = self.exchange
        lines = known.lines + self._extra_lines()
        exchange.respond(known.status, lines, body)

    def _extra_lines(self) -> bytes:
        return self._pipeline.extra_lines(self.exchange) + self.own_lines

    def on_end(self, payload: bytes) -> None:
        """Book the request, then let the caller see its end."""
        response = self._response
        if self.over or response is None:
            self.fail(Refusal(ErrorCode.UPSTREAM_CONNECTION_ERROR, "the model gave no answer"))
            return
        self.trailer = self._whole_trailer(payload)
        self.stream = None
        if self._committed and response.status == 200:
            self.end_with(self.kept.rest + self._done if self._done_held else self.kept.rest)
            return
        if self.kept.resumes and self.otherwise is not None:
            # What the next engine says of the continuation means nothing to the caller.
            self.status = 200
            self.fail(self.otherwise)
            return
        exchange = self.exchange
        body = bytes(self._collected or b"")
        self.bytes_out = len(body)
        self._conclude(outcome_of_status(response.status))
        if self._committed:
            # The status is out already: the engine's refusal goes the way of every late error.
            self._break_off(self.dialect.error_event(body.replace(b"\n", b" ")))
            return
        lines = headers.relayed_lines(response.content_type, response.retry_after_s)
        exchange.respond(response.status, lines + self._extra_lines(), body)

    def on_reset(self, payload: bytes) -> None:
        """Try elsewhere where nothing was done yet, else tell the caller that it is broken."""
        self.stream = None
        if self.over:
            return
        if self._done_held:
            self.trailer = self._pipeline.failover.trailer_of(self.kept)
            self.end_with(self._done)
            return
        reset, refusal = read_reset(payload)
        self._pipeline.failover.gave_up(self, refusal, reset)

    def end_with(self, data: bytes) -> None:
        """Book a stream, then let the caller see its last bytes."""
        self._conclude(Outcome.OK)
        self.exchange.finish(data)

    def _whole_trailer(self, payload: bytes) -> Trailer | None:
        """Return the numbers of the whole answer, whatever part of it came from where."""
        trailer = read_trailer(payload)
        step = self.kept.continuation
        if trailer is None or trailer.usage is None or step is None or step.continued is None:
            return trailer
        return msgspec.structs.replace(trailer, usage=step.continued.whole(trailer.usage))

    def on_writable(self) -> None:
        """The request body is on its way; nothing waits for that here."""

    # ── what the caller does ──────────────────────────────────────────────────────────────────

    def on_resume(self) -> None:
        """The caller reads again: give the neuron its credit back."""
        owed, self._owed_bytes = self._owed_bytes, 0
        if owed and self.stream is not None:
            self.stream.consumed(owed)

    def on_gone(self) -> None:
        """The caller is gone: cancel the work, wherever it is."""
        if self.over:
            return
        self._leave(CANCELLED)
        self.status = self.status or 499
        self._conclude(Outcome.CANCELLED)

    # ── what time does ────────────────────────────────────────────────────────────────────────

    def tick(self, now_s: float) -> None:
        """Commit a silent stream, keep it alive, and end what waited too long."""
        limits = self._pipeline.settings
        silent_s = now_s - self.heard_s
        if self.stream is not None:
            first = self.first_byte_s is None
            limit_s = limits.first_byte_timeout_s if first else limits.idle_timeout_s
            if silent_s >= limit_s and not self.exchange.paused:
                what = "first token" if first else "next token"
                because = f"no {what} came within {limit_s:g} s"
                self.abandon(Refusal(ErrorCode.UPSTREAM_TIMEOUT, because))
                return
        if not self.head.stream or self.exchange.paused:
            return
        if not self._committed:
            if self._response is None and now_s - self.started_s >= limits.commit_after_s:
                self._commit(None)
                self._keep_alive(now_s)
        elif self._at_boundary and silent_s >= limits.keepalive_interval_s:
            self._keep_alive(now_s)

    def _keep_alive(self, now_s: float) -> None:
        if now_s - self._kept_alive_s >= self._pipeline.settings.keepalive_interval_s:
            self._kept_alive_s = now_s
            comment = self._pipeline.room.comment_for(self)
            self.exchange.write(comment + self.dialect.alive)

    # ── endings ───────────────────────────────────────────────────────────────────────────────

    def fail(self, refusal: Refusal) -> None:
        """End with an error: a clean status if none went out yet, else an event and a cut."""
        if self.over:
            return
        self.code = refusal.code.value
        self.because = refusal.because
        request_id = self.exchange.request_id
        if self._committed:
            self._conclude(outcome_of(refusal))
            self._break_off(self.dialect.error_event(self.dialect.envelope(refusal, request_id)))
            return
        self.status = self.dialect.status_of(refusal)
        self._conclude(outcome_of(refusal))
        status, lines, body = headers.refusal_answer(refusal, request_id, self.dialect)
        self.exchange.respond(status, lines + self._extra_lines(), body)

    def abandon(self, refusal: Refusal) -> None:
        """End with an error because of us: the neuron is told to stop, too."""
        self._leave(EXPIRED)
        self.fail(refusal)

    @property
    def untouched(self) -> bool:
        """Nothing of an answer came from the neuron that has it now."""
        return self._response is None and not self._collected

    def leave_for_another(self, *, lost: bool) -> None:
        """Start clean elsewhere; who was `lost` with its connection may have it on a new one."""
        if self.replica is not None:
            left = self.replica if lost else replace(self.replica, connection=0)
            self.excluded = (*self.excluded, left)
        self.replica = None
        self._response = None
        self._owed_bytes = 0

    def _commit(self, response: ResponseHead | None) -> None:
        content_type = "text/event-stream" if response is None else response.content_type
        self._committed = True
        self.status = 200
        lines = headers.relayed_lines(content_type, None)
        self.exchange.start(200, lines + self._extra_lines())

    def _break_off(self, event: bytes) -> None:
        """Send the error event and cut the connection: every SDK takes a clean end for success."""
        self.exchange.write(event if self._at_boundary else b"\n\n" + event)
        self.exchange.abort()

    def _leave(self, payload: bytes) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.reset(payload)

    def _conclude(self, outcome: Outcome) -> None:
        self.over = True
        self.outcome = outcome
        self._collected = None
        self.kept.close()
        self.exchange.on_gone = None
        self.exchange.on_resume = None
        self._pipeline.conclude(self)
