"""Accepts the tunnel's streams and sees every request to its end.

What it is not: the request itself (`request`) or the way of its answer (`reply`). It keeps the
bounds that hold over all requests, ends those whose time is up, and drains.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.runtime.crash_memory import CrashMemory
from helexa.neuron.runtime.engine_client import EngineClient
from helexa.neuron.runtime.limits import BodyBudget, ExecutorLimits
from helexa.neuron.runtime.ports import ModelAccess, SeatAccess
from helexa.neuron.runtime.request import Request, Services
from helexa.neuron.runtime.request_metrics import RequestMetrics
from helexa.protocol.dialects.dialect import DIALECTS
from helexa.protocol.errors import CODES, ErrorCode, Refusal
from helexa.protocol.ids import ID_CHARS_MAX, is_request_id
from helexa.protocol.inference import OpenHead, Reset
from helexa.protocol.tunnel import Stream, StreamHandler
from helexa.util.clock import Clock
from helexa.util.logging import get
from helexa.util.metrics import Metrics, NoMetrics

_decode_head: Final = msgspec.json.Decoder(OpenHead).decode
_encode: Final = msgspec.json.Encoder().encode


class Refused(StreamHandler):
    """The handler of a stream that was refused at once: nothing that comes matters any more."""

    def on_head(self, payload: bytes) -> None:
        """Ignore it."""

    def on_data(self, data: bytes) -> None:
        """Ignore it."""

    def on_end(self, payload: bytes) -> None:
        """Ignore it."""

    def on_reset(self, payload: bytes) -> None:
        """Ignore it."""

    def on_writable(self) -> None:
        """Ignore it."""


_REFUSED: Final = Refused()


class Executor:
    """All requests of one neuron, whichever tunnel they came by."""

    def __init__(
        self,
        *,
        models: ModelAccess,
        seats: SeatAccess,
        engines: Mapping[str, EngineDescription],
        client: EngineClient,
        clock: Clock,
        metrics: Metrics | None = None,
        limits: ExecutorLimits | None = None,
    ) -> None:
        self._metrics = RequestMetrics(metrics if metrics is not None else NoMetrics())
        self._limits = limits if limits is not None else ExecutorLimits()
        self._services = Services(
            models=models,
            seats=seats,
            engines=engines,
            client=client,
            clock=clock,
            metrics=self._metrics,
            crashes=CrashMemory(),
            limits=self._limits,
            bodies=BodyBudget(self._limits.bodies_bytes_max),
            log=get("executor").bind(),  # bound once: the lazy proxy binds anew for each line
        )
        self._requests: dict[Request, None] = {}
        self._tickets = 0
        self._draining: Refusal | None = None
        self._emptied: asyncio.Event | None = None
        self._sweep_handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Requests that are not over."""
        return len(self._requests)

    def accept(self, stream: Stream, payload: bytes) -> StreamHandler:
        """Take a new stream; `payload` is its `OpenHead`. Refusals go out as RESET."""
        try:
            head = _decode_head(payload)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return _refuse(stream, ErrorCode.BAD_REQUEST, f"the head of the stream: {error}")
        if not is_request_id(head.request_id) or len(head.model) > ID_CHARS_MAX:
            return _refuse(stream, ErrorCode.BAD_REQUEST, "a name in the head is no name")
        if head.dialect not in DIALECTS:
            text = f"dialect {head.dialect[:40]!r} is not spoken here; {', '.join(DIALECTS)} is"
            return _refuse(stream, ErrorCode.NOT_SUPPORTED, text)
        if self._draining is not None:
            return _refuse(stream, self._draining.code, self._draining.because, elsewhere=True)
        if len(self._requests) >= self._limits.requests_max:
            text = "this neuron holds as many requests as it may"
            return _refuse(stream, ErrorCode.RATE_LIMIT_EXCEEDED, text, elsewhere=True)
        self._tickets += 1
        request = Request(self._services, stream, head, str(self._tickets), self._ended)
        self._requests[request] = None
        self._metrics.inflight(len(self._requests))
        if self._sweep_handle is None:
            self._arm()
        return request

    async def drain(self, timeout_s: float) -> int:
        """Take no new requests, send away those that wait, and let those at work finish.

        Returns how many of the latter had to be cut off after `timeout_s`.
        """
        code = ErrorCode.SHUTTING_DOWN
        self._draining = Refusal(code, CODES[code].text)
        for request in [request for request in self._requests if not request.at_work]:
            request.abandon(self._draining)
        if self._emptied is None:
            self._emptied = asyncio.Event()
        if self._requests:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._emptied.wait()
        left = tuple(self._requests)
        for request in left:
            request.abandon(self._draining)
        return len(left)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _ended(self, request: Request) -> None:
        self._requests.pop(request, None)
        self._metrics.inflight(len(self._requests))
        if self._emptied is not None and not self._requests:
            self._emptied.set()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep_handle = loop.call_later(self._limits.sweep_s, self._sweep)

    def _sweep(self) -> None:
        self._sweep_handle = None
        now = self._services.clock.monotonic()
        for request in tuple(self._requests):
            request.expire(now)
        if self._requests:
            self._arm()


def _refuse(
    stream: Stream, code: ErrorCode, message: str, *, elsewhere: bool = False
) -> StreamHandler:
    reset = Reset(
        code=code.value,
        message=message[:500],
        retry_elsewhere=elsewhere,
        retry_after_s=CODES[code].retry_after_s,
    )
    stream.reset(_encode(reset))
    return _REFUSED
