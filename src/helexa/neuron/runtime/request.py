"""One request on a neuron, from its first frame to its last: body, seat, engine, answer.

    collecting ──► waiting ──► running ──► done
        │             │           │          ▲
        └─────────────┴───────────┴──────────┘    client gone, refused, failed, out of time

Whatever ends a request goes through `_finish`, once: there the seat is given back and the numbers
are written. The client is told before that.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from helexa.model_runtime.interfaces import (
    Ending,
    EngineDescription,
    Failure,
    InboundCall,
    KnownAnswer,
    OutboundCall,
)
from helexa.neuron.registry.admission import Admitted
from helexa.neuron.registry.commands import RunningModel
from helexa.neuron.registry.health import writing_pace
from helexa.neuron.runtime import request_metrics as outcomes
from helexa.neuron.runtime.crash_memory import CrashMemory
from helexa.neuron.runtime.engine_client import EngineClient, EngineRequest
from helexa.neuron.runtime.interpreted import Interpreted
from helexa.neuron.runtime.limits import BodyBudget, ExecutorLimits
from helexa.neuron.runtime.ports import ModelAccess, SeatAccess
from helexa.neuron.runtime.reply import Breakdown, Reply
from helexa.neuron.runtime.request_metrics import RequestMetrics
from helexa.protocol.dialects.chat_shapes import DialectError
from helexa.protocol.dialects.dialect import DIALECTS, Interpreter
from helexa.protocol.errors import CODES, ErrorCode, Refusal
from helexa.protocol.inference import OpenHead, Reset, ResponseHead, Trailer, Usage
from helexa.protocol.tunnel import NOBODY, Stream, StreamHandler
from helexa.protocol.workload import Operation
from helexa.util.clock import Clock
from helexa.util.errors import describe

MESSAGE_CHARS_MAX: Final = 1000
_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_OUTCOMES: Final = {
    ErrorCode.UPSTREAM_TIMEOUT: outcomes.TIMEOUT,
    ErrorCode.SERVICE_UNAVAILABLE: outcomes.REJECTED,
    ErrorCode.SHUTTING_DOWN: outcomes.REJECTED,
}
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Services:
    """What every request uses."""

    models: ModelAccess
    seats: SeatAccess
    engines: Mapping[str, EngineDescription]
    client: EngineClient
    clock: Clock
    metrics: RequestMetrics
    crashes: CrashMemory
    limits: ExecutorLimits
    bodies: BodyBudget
    log: Any


class Request(StreamHandler):
    """The handler of one tunnel stream, and the owner of its reply."""

    __slots__ = (
        "_began_at", "_body", "_body_bytes", "_first_token_ms", "_model", "_on_done", "_parts",
        "_reply", "_services", "_stream", "_ticket", "_waited_s", "done", "head",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        stream: Stream,
        head: OpenHead,
        ticket: str,
        on_done: Callable[["Request"], None],
    ) -> None:
        now = services.clock.monotonic()
        self.head = head
        self.done = False
        self._services = services
        self._stream = stream
        self._ticket = ticket
        self._on_done = on_done
        self._parts: list[bytes] | None = []
        self._body = b""
        self._body_bytes = 0
        self._began_at = now
        self._waited_s = 0.0
        self._first_token_ms: float | None = None
        self._model: RunningModel | None = None
        self._reply: Reply | None = None

    @property
    def at_work(self) -> bool:
        """It has reached its engine."""
        return self._reply is not None

    # ── StreamHandler ─────────────────────────────────────────────────────────────────────────

    def on_head(self, payload: bytes) -> None:
        """Never called: on this side of the tunnel a HEAD is a broken rule."""

    def on_data(self, data: bytes) -> None:
        """Take a part of the body; past the bound the caller is told 413."""
        self._stream.consumed(len(data))
        if self._parts is None:
            return
        self._parts.append(data)
        self._body_bytes += len(data)
        allowed = self._services.limits.body_bytes_max
        fits = self._services.bodies.take(len(data))
        if self._body_bytes > allowed:
            text = f"the body has more than {allowed} bytes"
            self._refuse_caller(Refusal(ErrorCode.PAYLOAD_TOO_LARGE, text))
        elif not fits:
            text = "this neuron holds as many bytes of requests as it may"
            self._refuse(Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, text))

    def on_end(self, payload: bytes) -> None:
        """The body is complete: ask for a seat."""
        parts, self._parts = self._parts, None
        if parts is None or self.done:
            return
        self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._began_at = self._services.clock.monotonic()
        self._begin()

    def on_reset(self, payload: bytes) -> None:
        """The client has gone, or the tunnel: stop the engine's work at once."""
        self._finish(outcomes.CANCELLED)

    def on_writable(self) -> None:
        """The peer takes bytes again."""
        if self._reply is not None:
            self._reply.resume()

    # ── on the way to the engine ──────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        services, head = self._services, self.head
        model = self._model = services.models.running(head.model)
        if model is None:
            self._refuse(services.models.refusal(head.model))
            return
        now = self._began_at
        if services.crashes.is_blocked(head.request_id, head.model, self._body, now):
            text = "the engine died twice while it worked on this request; it is not tried again"
            self._refuse(Refusal(ErrorCode.ENGINE_CRASH, text), elsewhere=False)
            return
        if head.operation is Operation.COUNT_TOKENS:  # no work for the model: it takes no seat
            self._seated(Admitted(), model)
            return
        outcome = services.seats.ask(head.model, self._ticket, self._seated_later)
        if isinstance(outcome, Admitted):
            self._seated(outcome, model)
        elif isinstance(outcome, Refusal):
            self._refuse(outcome)

    def _seated_later(self, outcome: Admitted | Refusal) -> None:
        # Verdicts come out of another request's end: begun in there, a line of requests that all
        # fail at once would end each other ever deeper in the stack.
        asyncio.get_running_loop().call_soon(self._resume, outcome)

    def _resume(self, outcome: Admitted | Refusal) -> None:
        """Go on with the verdict on the seat; the engine may be another by now."""
        if self.done:
            return
        models, model_id = self._services.models, self.head.model
        if isinstance(outcome, Refusal):
            self._refuse(outcome)
            return
        model = self._model = models.running(model_id)
        if model is None:
            self._refuse(models.refusal(model_id))
        else:
            self._seated(outcome, model)

    def _seated(self, outcome: Admitted, model: RunningModel) -> None:
        services = self._services
        self._waited_s = outcome.waited_s
        services.metrics.seated(self.head.model, outcome.waited_s)
        try:
            self._send(model)
        except Exception as error:
            services.log.exception(
                "request_failed", request_id=self.head.request_id, error=describe(error)
            )
            self._refuse_caller(_internal_error(), outcomes.UPSTREAM_ERROR)

    def _send(self, model: RunningModel) -> None:
        services, head = self._services, self.head
        body, interpreter = self._body, None
        if head.dialect != "openai":
            try:
                body, interpreter = self._as_chat()
            except DialectError as error:
                code = ErrorCode.INVALID_REQUEST_BODY
                self._refuse_caller(Refusal(code, str(error), param=error.param))
                return
        call = services.engines[model.engine].call(
            InboundCall(
                operation=head.operation,
                body=body,
                stream=head.stream,
                include_usage=head.include_usage,
                request_id=head.request_id,
                config=model.config,
                capability=model.capability,
                continues=head.continues if head.stream else None,
                tenant=head.tenant,
            )
        )
        if isinstance(call, Failure):
            self._refuse_caller(Refusal(call.code, call.message))
            return
        if isinstance(call, KnownAnswer):
            self.answered(Ending(b"", None), ResponseHead(), call.body)
            return
        translation = call.translation
        if interpreter is not None:
            translation = Interpreted(translation, interpreter, head.request_id, stream=head.stream)
        reply = self._reply = Reply(self, self._stream, translation)
        reply.attach(services.client.request(self._engine_request(model, call), reply))

    def _as_chat(self) -> tuple[bytes, Interpreter]:
        """Return the request as a chat, and who tells its answer as the caller expects it."""
        make = DIALECTS[self.head.dialect].interpreter
        assert make is not None, "a dialect that nobody translates"
        interpreter = make(self.head.operation)
        return interpreter.chat(self._body), interpreter

    def _engine_request(self, model: RunningModel, call: OutboundCall) -> EngineRequest:
        headers = {**model.headers, **call.headers} if call.headers else model.headers
        trace = self.head.traceparent
        if trace and not _TRACEPARENT.match(trace):
            trace = ""
        return EngineRequest(model.endpoint, call.path, call.body, headers, call.method, trace)

    # ── ReplyOwner ────────────────────────────────────────────────────────────────────────────

    def first_token(self) -> None:
        """From here on the engine is expected to go on speaking."""
        services, head = self._services, self.head
        after_s = self._elapsed_s()
        self._first_token_ms = after_s * 1e3
        if self._reply is not None:
            self._reply.expect_within(services.limits.stall_s)
        services.metrics.first_token(head.model, head.operation, after_s)

    def answered(self, ending: Ending, head: ResponseHead | None, data: bytes) -> None:
        """End the stream with its last bytes and its trailer; all of it at once if it is whole."""
        trailer = _encode(
            Trailer(
                usage=ending.usage,
                finish_reason=ending.finish_reason,
                first_token_ms=self._first_token_ms,
                duration_ms=self._elapsed_s() * 1e3,
                queued_ms=self._waited_s * 1e3,
            )
        )
        stream = self._stream
        if head is not None:
            stream.send_answer(_encode(head), data, trailer)
        else:
            if data:
                stream.send_data(data)
            stream.send_end(trailer)
        if ending.usage is not None:
            self._services.metrics.tokens(self.head.model, ending.usage)
        self._finish(self._outcome_of_answer(), usage=ending.usage)

    def _outcome_of_answer(self) -> str:
        """Tell how a whole answer counts: an attached server's own errors pass through as such."""
        head = self._reply.translation.head if self._reply is not None else None
        if head is None or head.status < 400:
            return outcomes.OK
        return outcomes.CLIENT_ERROR if head.status < 500 else outcomes.UPSTREAM_ERROR

    def failed(self, breakdown: Breakdown) -> None:
        """Tell the caller a status if none went out yet, else cut the stream."""
        failure, model = breakdown.failure, self._model
        assert model is not None
        head_sent = self._reply is not None and self._reply.head_sent
        if not failure.blames_engine:
            refusal = Refusal(failure.code, failure.message)
            if head_sent:
                self._reset(refusal, elsewhere=False)
                self._finish(outcomes.CLIENT_ERROR)
            else:
                self._refuse_caller(refusal)
            return
        code, blocked, engine = failure.code, False, ""
        if breakdown.lost and self._services.engines[model.engine].spawns:
            code, engine = ErrorCode.ENGINE_CRASH, model.worker_id
            blocked = self._remember_crash(model)
        if breakdown.silent:
            self._services.models.condemn(model, f"a request found it silent: {breakdown.detail}")
        message = failure.message if code is failure.code else CODES[code].text
        self._services.log.warning(
            "engine_failed_request", request_id=self.head.request_id, model_id=self.head.model,
            code=code.value, detail=breakdown.detail, after_head=head_sent,
        )  # fmt: skip
        self._reset(Refusal(code, message), elsewhere=not head_sent and not blocked, engine=engine)
        outcome = _OUTCOMES.get(code, outcomes.UPSTREAM_ERROR)
        self._finish(outcome, failed=outcome != outcomes.REJECTED)

    def _remember_crash(self, model: RunningModel) -> bool:
        now = self._services.clock.monotonic()
        return self._services.crashes.crashed(
            self.head.request_id, self.head.model, self._body, model.worker_id, now
        )

    # ── endings ───────────────────────────────────────────────────────────────────────────────

    def expire(self, now: float) -> None:
        """End the request if its body took too long to arrive, or its stream is gone."""
        if self._stream.over:
            self._finish(outcomes.CANCELLED)
        elif self._parts is not None and now - self._began_at >= self._services.limits.collect_s:
            code = ErrorCode.REQUEST_TIMEOUT
            self._reset(Refusal(code, CODES[code].text), elsewhere=False)
            self._finish(outcomes.TIMEOUT)

    def abandon(self, refusal: Refusal) -> None:
        """End the request because the neuron cannot finish it."""
        head_sent = self._reply is not None and self._reply.head_sent
        self._reset(refusal, elsewhere=not head_sent)
        self._finish(outcomes.REJECTED)

    def _refuse(self, refusal: Refusal, *, elsewhere: bool = True) -> None:
        """Say no before anything reached the engine; cortex may ask another neuron."""
        self._reset(refusal, elsewhere=elsewhere)
        self._finish(outcomes.REJECTED)

    def _refuse_caller(self, refusal: Refusal, outcome: str = outcomes.CLIENT_ERROR) -> None:
        """Answer with a whole error: it is the caller's, and no other neuron would say else."""
        dialect = DIALECTS[self.head.dialect]
        head = ResponseHead(status=dialect.status_of(refusal), retry_after_s=refusal.retry_after)
        trailer = Trailer(finish_reason="error", duration_ms=self._elapsed_s() * 1e3)
        body = dialect.envelope(refusal, self.head.request_id)
        self._stream.send_answer(_encode(head), body, _encode(trailer))
        self._finish(outcome)

    def _reset(self, refusal: Refusal, *, elsewhere: bool, engine: str = "") -> None:
        reset = Reset(
            code=refusal.code.value,
            message=refusal.because[:MESSAGE_CHARS_MAX],
            retry_elsewhere=elsewhere,
            retry_after_s=refusal.retry_after,
            engine=engine,
        )
        self._stream.reset(_encode(reset))

    def _finish(self, outcome: str, *, failed: bool = False, usage: Usage | None = None) -> None:
        if self.done:
            return
        self.done = True
        self._parts = None
        services, head = self._services, self.head
        self._stream.handler = NOBODY  # let go, so that what is over needs no garbage collector
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.cancel()
        services.seats.release(self._ticket)
        services.bodies.give(self._body_bytes)
        self._on_done(self)
        self._body = b""
        model = head.model if self._model is not None else "other"
        services.metrics.ended(model, head.operation, outcome, self._elapsed_s())
        if self._first_token_ms is not None or failed:
            took = (self._first_token_ms, self._pace(usage))
            services.models.request_ended(head.model, *took, failed=failed)
        services.log.debug(
            "request_ended", request_id=head.request_id, model_id=head.model, outcome=outcome
        )

    def _pace(self, usage: Usage | None) -> float | None:
        first_ms = self._first_token_ms if self.head.stream else None  # only a stream shows it
        return writing_pace(usage, first_ms, self._elapsed_s())

    def _elapsed_s(self) -> float:
        return self._services.clock.monotonic() - self._began_at


def _internal_error() -> Refusal:
    return Refusal(ErrorCode.INTERNAL_ERROR, CODES[ErrorCode.INTERNAL_ERROR].text)
