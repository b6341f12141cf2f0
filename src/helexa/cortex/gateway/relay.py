"""One request on its way: from the caller's exchange to a neuron's stream, and the bytes back.

It is the handler of the tunnel stream and of the exchange at once. Everything here is called back
with bytes; nothing waits, and no chunk is parsed.

    new ─► held (the model is loading) ─► sent ─► answering ─► over
              └───────────────┴────────────┴──────────┴──────────► over (refused, cut, gone)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from helexa.cortex.gateway import headers
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.response import BODILESS
from helexa.cortex.gateway.metering import Outcome, outcome_of, outcome_of_status
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.dialects import openai
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Reset, ResponseHead, Trailer
from helexa.protocol.ports import Principal
from helexa.protocol.sse import DONE
from helexa.protocol.tunnel import Stream, StreamHandler
from helexa.protocol.workload import WorkloadClass

if TYPE_CHECKING:
    from helexa.cortex.gateway.pipeline import Pipeline

ANSWER_BYTES_MAX: Final = 64 << 20
MESSAGE_CHARS_MAX: Final = 1000
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What the decoders raise on bytes that are not what they should be."""
_head_decoder: Final = msgspec.json.Decoder(ResponseHead)
_trailer_decoder: Final = msgspec.json.Decoder(Trailer)
_reset_decoder: Final = msgspec.json.Decoder(Reset)
_encoder: Final = msgspec.json.Encoder()
CANCELLED: Final = _encoder.encode(Reset(code="cancelled", message="the caller is gone"))
EXPIRED: Final = _encoder.encode(Reset(code="cancelled", message="the gateway waited long enough"))
KEEPALIVE: Final = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of a whole answer, and what follows from it alone."""

    status: int
    lines: bytes
    """The header lines that the caller gets of it."""
    outcome: Outcome


ANSWER_HEADS_MAX: Final = 64


class Relay(StreamHandler):
    """One request from its acceptance to its end. `Pipeline.conclude` hears of the end, once."""

    __slots__ = (
        "_at_boundary",
        "_committed",
        "_done_held",
        "_kept_alive_s",
        "_now",
        "_owed_bytes",
        "_parts",
        "_parts_bytes",
        "_pipeline",
        "_response",
        "attempts",
        "because",
        "bytes_out",
        "code",
        "exchange",
        "excluded",
        "first_byte_s",
        "head",
        "heard_s",
        "held_until_s",
        "model_id",
        "outcome",
        "over",
        "principal",
        "replica",
        "route_line",
        "routed",
        "started_s",
        "status",
        "stream",
        "trailer",
        "workload_class",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: "Pipeline",
        exchange: Exchange,
        head: openai.RequestHead,
        principal: Principal,
        workload_class: WorkloadClass,
        now_s: float,
    ) -> None:
        self._pipeline = pipeline
        self._now = pipeline.now
        self._kept_alive_s = now_s
        self.exchange = exchange
        self.head = head
        self.principal = principal
        self.workload_class = workload_class
        self.model_id = head.model or ""
        self.started_s = now_s
        self.heard_s = now_s
        """When the caller or we last had something to say: the base of keepalives and timeouts."""
        self.first_byte_s: float | None = None
        self.held_until_s: float | None = None
        self.replica: Replica | None = None
        self.routed: tuple[RoutingRequest, RoutingDecision] | None = None
        """What the router was told and must hear the end of."""
        self.route_line = b""
        """A header line for the caller, where it shall know its route."""
        self.stream: Stream | None = None
        self.attempts = 0
        self.excluded: tuple[Replica, ...] = ()
        self.over = False
        self.outcome = Outcome.OK
        self.status = 0
        self.code = ""
        self.because = ""
        self.trailer: Trailer | None = None
        self.bytes_out = 0
        self._response: ResponseHead | None = None
        self._committed = False
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._owed_bytes = 0
        self._at_boundary = True
        self._done_held = False

    def sent(self, replica: Replica, stream: Stream) -> None:
        """The request is on its way to a replica."""
        self.replica = replica
        self.stream = stream
        self.model_id = replica.model_id
        self.heard_s = self._now()

    # ── what the neuron says ──────────────────────────────────────────────────────────────────

    def on_head(self, payload: bytes) -> None:
        """Take the status; a stream that goes well is committed to the caller now."""
        try:
            response = _head_decoder.decode(payload)
        except _UNREADABLE:
            self._give_up_on("its head is not readable")
            return
        if self._response is not None or not 200 <= response.status < 600:
            self._give_up_on(f"a head with status {response.status!s:.20} has no place here")
            return
        if response.status in BODILESS:
            self._give_up_on(f"an answer with status {response.status} has no body")
            return
        self._response = response
        self.status = response.status
        self.heard_s = self._now()
        if self.head.stream and response.status == 200 and not self._committed:
            self._commit(response)

    def on_data(self, data: bytes) -> None:
        """Pass bytes on. Bytes that the caller cannot take yet are not given back as credit."""
        stream = self.stream
        if stream is None or self.over:
            return
        now_s = self._now()
        self.heard_s = now_s
        size = len(data)
        if not self._committed or self._response is None or self._response.status != 200:
            self._collect(data, size)
            stream.consumed(size)
            return
        if self.first_byte_s is None and not data.startswith(b":"):
            self.first_byte_s = now_s
        if data.endswith(DONE):
            # The end of a stream is said only after it was booked: see `on_end`.
            self._done_held = True
            data = data[: -len(DONE)]
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

    def _collect(self, data: bytes, size: int) -> None:
        if self._response is None:
            self._give_up_on("its body came before its head")
            return
        if self.first_byte_s is None:
            self.first_byte_s = self.heard_s
        self._parts.append(data)
        self._parts_bytes += size
        if self._parts_bytes > ANSWER_BYTES_MAX:
            because = f"the answer has more than {ANSWER_BYTES_MAX} bytes"
            self.abandon(Refusal(ErrorCode.ENGINE_GARBAGE, because))

    def on_answer(self, head: bytes, body: bytes, trailer: bytes) -> None:
        """Book a whole answer and pass it on: the way of nearly every request without a stream."""
        known = self._pipeline.answer_heads.get(head) or self._learn(head)
        if known is None or self.over or self.head.stream or self._parts:
            super().on_answer(head, body, trailer)
            return
        self.first_byte_s = self._now()
        self.status = known.status
        self.bytes_out = len(body)
        self.stream = None
        try:
            self.trailer = _trailer_decoder.decode(trailer) if trailer else None
        except _UNREADABLE:
            self.trailer = None
        self._conclude(known.outcome)
        exchange = self.exchange
        lines = known.lines + self._extra_lines()
        exchange.respond(known.status, lines, body)

    def _extra_lines(self) -> bytes:
        return self._pipeline.extra_lines(self.exchange) + self.route_line

    def _learn(self, head: bytes) -> AnswerHead | None:
        """Return what follows from a head; None for one that is better looked at with care."""
        try:
            response = _head_decoder.decode(head)
        except _UNREADABLE:
            return None
        status = response.status
        if not 200 <= status < 600 or status in BODILESS:
            return None
        lines = headers.relayed_lines(response.content_type, response.retry_after_s)
        known = AnswerHead(status, lines, outcome_of_status(status))
        heads = self._pipeline.answer_heads
        if len(heads) < ANSWER_HEADS_MAX:
            heads[head] = known
        return known

    def on_end(self, payload: bytes) -> None:
        """Book the request, then let the caller see its end."""
        response = self._response
        if self.over or response is None:
            self.fail(Refusal(ErrorCode.UPSTREAM_CONNECTION_ERROR, "the model gave no answer"))
            return
        try:
            self.trailer = _trailer_decoder.decode(payload) if payload else None
        except _UNREADABLE:
            self.trailer = None
        self.stream = None
        exchange = self.exchange
        if self._committed and response.status == 200:
            self._conclude(Outcome.OK)
            exchange.finish(DONE if self._done_held else b"")
            return
        body = b"".join(self._parts)
        self.bytes_out = len(body)
        self._conclude(outcome_of_status(response.status))
        if self._committed:
            # The status is out already: the engine's refusal goes the way of every late error.
            self._break_off(b"data: " + body.replace(b"\n", b" ") + b"\n\n")
            return
        lines = headers.relayed_lines(response.content_type, response.retry_after_s)
        exchange.respond(response.status, lines + self._extra_lines(), body)

    def on_reset(self, payload: bytes) -> None:
        """Try elsewhere where nothing was done yet, else tell the caller that it is broken."""
        self.stream = None
        if self.over:
            return
        try:
            reset = _reset_decoder.decode(payload)
        except _UNREADABLE:
            reset = Reset(code=ErrorCode.UPSTREAM_CONNECTION_ERROR.value)
        try:
            code = ErrorCode(reset.code)
        except ValueError:
            code = ErrorCode.UPSTREAM_CONNECTION_ERROR
        message = (reset.message or code.value)[:MESSAGE_CHARS_MAX]
        refusal = Refusal(code, message, None, reset.retry_after_s)
        untouched = self._response is None and not self._parts
        self._pipeline.broken(self, refusal, retry=reset.retry_elsewhere and untouched)

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
        if self.held_until_s is not None:
            if now_s >= self.held_until_s:
                self._pipeline.expire_held(self)
                return
        elif self.stream is not None:
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
            self.exchange.write(self._pipeline.comment_for(self))

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
            self._break_off(openai.error_event(refusal, request_id))
            return
        self.status = refusal.status
        self._conclude(outcome_of(refusal))
        status, lines, body = headers.refusal_answer(refusal, request_id)
        self.exchange.respond(status, lines + self._extra_lines(), body)

    def abandon(self, refusal: Refusal) -> None:
        """End with an error because of us: the neuron is told to stop, too."""
        self._leave(EXPIRED)
        self.fail(refusal)

    def leave_for_retry(self) -> None:
        """Forget the replica that did not take the request; the next attempt starts clean."""
        if self.replica is not None:
            self.excluded = (*self.excluded, self.replica)
        self.replica = None
        self._response = None

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
        self._parts = []
        self.exchange.on_gone = None
        self.exchange.on_resume = None
        self._pipeline.conclude(self)
