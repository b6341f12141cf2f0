"""The gateway, put together: edge, routes and pipeline, with one sweep for all that time does."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from helexa.cortex.gateway.demand_meter import DemandMeter
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.limits import Limits as EdgeLimits
from helexa.cortex.gateway.edge.server import EdgeServer
from helexa.cortex.gateway.headers import refusal_answer
from helexa.cortex.gateway.metering import BECAUSE_CHARS_MAX, LineBudget, Record
from helexa.cortex.gateway.observe import LINES_PER_SECOND, LoadGauges
from helexa.cortex.gateway.overhead import SAMPLE_EVERY, Overhead
from helexa.cortex.gateway.pipeline import Limits, Pipeline, Seams
from helexa.cortex.gateway.routes import Facts, Judged, Routes
from helexa.cortex.orchestrator.demand import DemandSample
from helexa.protocol.dialects.dialect import OPENAI
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Authenticator
from helexa.util.clock import Clock
from helexa.util.errors import describe
from helexa.util.metrics import Metrics, NoMetrics
from helexa.util.tasks import TaskScope

SWEEP_INTERVAL_S: Final = 0.25
_DRAIN_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Door:
    """What the front door is like, beside its limits on requests."""

    edge_limits: EdgeLimits
    metrics: Metrics | None
    """None: no metrics are served on the gateway."""
    cors_origins: tuple[str, ...] = ()


class Gateway:
    """The front door of one cortex."""

    def __init__(
        self,
        seams: Seams,
        authenticator: Authenticator,
        settings: Limits,
        door: Door,
        *,
        clock: Clock,
        logger: Any,
    ) -> None:
        self._logger = logger
        metrics: Metrics = door.metrics if door.metrics is not None else NoMetrics()
        self._gauges = LoadGauges(metrics)
        self._overhead = Overhead(metrics, clock.monotonic)
        self._until_handle_timed = self._until_admit_timed = SAMPLE_EVERY
        metrics.before_render(self._collect)
        self._clock = clock
        self._lines = LineBudget(LINES_PER_SECOND)
        facts = Facts(
            seams.snapshot,
            lambda: self.pipeline.draining,
            door.metrics.render if door.metrics is not None else None,
        )
        self._routes = Routes(facts, authenticator, door.cors_origins)
        self._demand = DemandMeter()
        self._snapshot = seams.snapshot
        seams = replace(
            seams,
            extra_lines=self._routes.cors_lines,
            record=_both(self._demand.record, seams.record),
        )
        self.pipeline = Pipeline(seams, authenticator, settings)
        self._server = EdgeServer(
            self._handle,
            admit=self._admit,
            refuse=self._refuse,
            limits=door.edge_limits,
            clock=clock,
        )
        self._tasks = TaskScope(self._task_failed)

    async def start(
        self, sockets: Sequence[socket.socket], ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Serve on sockets that are bound already."""
        await self._server.start(sockets, ssl_context=ssl_context)
        self._tasks.start(self._sweep(), "gateway sweep")

    def snapshot_published(self) -> None:
        """Wake the requests that wait; call it after each new snapshot."""
        self.pipeline.room.wake()

    def refuse_new(self) -> None:
        """Answer new requests, and those that wait, with `shutting_down` from here on."""
        self.pipeline.drain()

    def demand(self) -> tuple[DemandSample, ...]:
        """Return what was asked of each model since the last call."""
        in_flight, waiting = self.pipeline.inflight.by_model(), self.pipeline.waiting()
        return self._demand.samples(in_flight, waiting, self._snapshot().names)

    async def drain(self, timeout_s: float) -> None:
        """Take no new requests and wait for the running ones; what is left then is cut."""
        self.refuse_new()
        deadline_s = self._clock.monotonic() + timeout_s
        while len(self.pipeline) and self._clock.monotonic() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(
                _DRAIN_POLL_S
            )  # requests end in callbacks; polling costs them nothing
        self.pipeline.abandon_all("this server is stopping; try again shortly")
        left_s = max(deadline_s - self._clock.monotonic(), 0.0)
        await self._server.drain(min(left_s, 1.0))

    async def close(self) -> None:
        """Close every connection and stop."""
        await self._tasks.close()
        await self._server.close()

    # ── what the edge calls ───────────────────────────────────────────────────────────────────

    def _handle(self, exchange: Exchange) -> None:
        self._until_handle_timed -= 1
        if not self._until_handle_timed:
            self._until_handle_timed = SAMPLE_EVERY
            began_s = self._overhead.now()
            self._handle(exchange)
            self._overhead.handled(began_s, exchange, self.pipeline.newest)
            return
        judged = exchange.judged
        if isinstance(judged, Judged):
            self.pipeline.handle(exchange, judged.operation, judged.dialect)
            return
        answer = self._routes.answer(exchange)
        if isinstance(answer, Refusal):
            answer = refusal_answer(answer, exchange.request_id)
        status, lines, body = answer
        exchange.respond(status, lines + self._routes.cors_lines(exchange), body)

    def _admit(self, exchange: Exchange) -> Refusal | None:
        self._until_admit_timed -= 1
        if self._until_admit_timed:
            return self._routes.admit(exchange)
        self._until_admit_timed = SAMPLE_EVERY
        began_s = self._overhead.now()
        refusal = self._routes.admit(exchange)
        self._overhead.admitted(began_s)
        return refusal

    def _refuse(self, exchange: Exchange | None, refusal: Refusal) -> tuple[int, bytes, bytes]:
        dialect = self._routes.dialect_of(exchange.path) if exchange else OPENAI
        request_id = exchange.request_id if exchange else ""
        status, lines, body = refusal_answer(refusal, request_id, dialect)
        if exchange is not None and refusal.code is ErrorCode.METHOD_NOT_ALLOWED:
            lines += b"allow: " + self._routes.allowed(exchange.path) + b"\r\n"
        if exchange is not None:
            lines += dialect.answer_lines(request_id) + self._routes.cors_lines(exchange)
        if self._lines.allows(self._clock.monotonic()):
            held_back = self._lines.take_suppressed()
            self._logger.warning(
                "refused",
                code=refusal.code.value,
                status=status,
                because=refusal.because[:BECAUSE_CHARS_MAX],
                request_id=request_id,
                **({"lines_suppressed": held_back} if held_back else {}),
            )
        return status, lines, body

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self.pipeline.sweep()

    def _collect(self) -> None:
        pipeline = self.pipeline
        self._gauges.update(
            pipeline.inflight.by_model(),
            held=pipeline.room.held,
            queued=pipeline.room.queued,
            streams=pipeline.streams,
        )

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._logger.error("task_failed", task=name, error=describe(error))


def _both(
    first: Callable[[Record], None], second: Callable[[Record], None]
) -> Callable[[Record], None]:
    def record(ended: Record) -> None:
        first(ended)
        second(ended)

    return record
