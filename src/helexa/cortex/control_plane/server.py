"""Where neurons dial in: the websocket server, its door, and the watch over open connections."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from picows import (
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from helexa.cortex.control_plane.join_gate import JoinGate
from helexa.cortex.control_plane.links import Links
from helexa.cortex.control_plane.session import MESSAGE_BYTES_MAX, NeuronSession, SessionPorts
from helexa.cortex.orchestrator.events import Event, NeuronHeard
from helexa.protocol.join import CONTROL_PATH, JoinProblem
from helexa.util.clock import Clock
from helexa.util.errors import describe
from helexa.util.metrics import Metrics
from helexa.util.tasks import TaskScope
from helexa.util.tunnel_metrics import TunnelMetrics

CLOSE_NO_REGISTER: Final = 1008
CLOSE_GOING_AWAY: Final = 1001
HANDSHAKE_TIMEOUT_S: Final = 5.0
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times in seconds, and how many neurons may be connected."""

    neurons_max: int = 1024
    register_timeout_s: float = 5.0
    """A connection that has not registered by then is closed."""
    ping_interval_s: float = 5.0
    stall_timeout_s: float = 30.0
    """A neuron that takes nothing of what is sent to it for this long is cut."""
    watch_interval_s: float = 1.0


class ControlServer:
    """Serves `/v1/neuron` to neurons. `report` takes the events of their connections."""

    def __init__(
        self,
        links: Links,
        gate: JoinGate,
        report: Callable[[Event], None],
        *,
        limits: ConnectionLimits,
        clock: Clock,
        metrics: Metrics,
        logger: Any,
    ) -> None:
        self._links = links
        self._gate = gate
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._logger = logger
        self._sessions: dict[NeuronSession, float] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks = TaskScope(self._task_failed)
        self._accepting = False
        self._empty: asyncio.Event | None = None
        self._refused_logged_s = float("-inf")
        self._tunnel_metrics = TunnelMetrics(metrics)
        self._ports = SessionPorts(
            report=report,
            links=links,
            monotonic=clock.monotonic,
            logger=logger,
            opened=self._opened,
            ended=self._ended,
            count_fault=self._count_fault,
            round_trip=self._tunnel_metrics.round_trip,
        )
        metrics.before_render(self._collect)

    def __len__(self) -> int:
        return len(self._sessions)

    async def start(
        self, sockets: Sequence[socket.socket], ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Serve on sockets that are bound already."""
        self._accepting = True
        for bound in sockets:
            server = await ws_create_server(
                self._upgrade,
                sock=bound,
                ssl=ssl_context,
                max_frame_size=MESSAGE_BYTES_MAX,
                websocket_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                logger_name=_quiet_logger(),
            )
            self._servers.append(server)
        self._tasks.start(self._watch(), "watch over neuron connections")

    def stop_accepting(self) -> None:
        """Take no more connections; those that are open stay."""
        self._accepting = False
        for server in self._servers:
            server.close()

    async def close(self, timeout_s: float = 2.0) -> None:
        """Close every connection with 1001 and stop; what is left after `timeout_s` is cut."""
        self.stop_accepting()
        await self._tasks.close()
        for session in list(self._sessions):
            session.close(CLOSE_GOING_AWAY, "cortex is stopping")
        if self._sessions:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        for session in list(self._sessions):
            session.abort()
        await asyncio.sleep(0)

    def heard(self) -> list[NeuronHeard]:
        """Return when each accepted neuron was last heard."""
        return [
            NeuronHeard(neuron_id, connection, link.heard_s)
            for neuron_id, connection, link in self._links.current()
        ]

    # ── the door ──────────────────────────────────────────────────────────────────────────────

    def _upgrade(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        if request.path != CONTROL_PATH.encode():
            return _refuse(404, f"neurons dial {CONTROL_PATH}")
        if not self._accepting:
            return _refuse(503, "cortex is stopping")
        found = self._gate.check(request.headers)
        if isinstance(found, JoinProblem):
            self._log_refusal(found)
            return _refuse(401, "a valid join proof is needed")
        if len(self._sessions) >= self._limits.neurons_max:
            return _refuse(503, f"{self._limits.neurons_max} neurons are connected already")
        return NeuronSession(self._ports, found)

    def _log_refusal(self, problem: JoinProblem) -> None:
        self._metrics.counter(
            "helexa_neuron_joins_refused_total",
            "Connections refused at the door",
            reason=problem.name.lower(),
        ).inc()
        now = self._clock.monotonic()
        if now - self._refused_logged_s >= 1.0:
            self._refused_logged_s = now
            self._logger.warning("join_refused", because=problem.value)

    def _opened(self, session: NeuronSession) -> None:
        self._sessions[session] = self._clock.monotonic()

    def _ended(self, session: NeuronSession) -> None:
        self._sessions.pop(session, None)
        self._take_traffic(session)
        if not self._sessions and self._empty is not None:
            self._empty.set()

    def _count_fault(self, code: str) -> None:
        self._metrics.counter(
            "helexa_neuron_faults_total", "Messages that broke the protocol", code=code
        ).inc()

    def _take_traffic(self, session: NeuronSession) -> None:
        if session.tunnel is not None:
            self._tunnel_metrics.take(session.tunnel.traffic)

    def _collect(self) -> None:
        """Bring up to date what is only read when somebody asks."""
        for session in self._sessions:
            self._take_traffic(session)
        self._metrics.clear("helexa_tunnel_connections")
        for neuron_id, _, _ in self._links.current():
            self._metrics.gauge(
                "helexa_tunnel_connections", "Connections of neurons that are up", neuron=neuron_id
            ).set(1)

    # ── the watch ─────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.watch_interval_s)
            now = self._clock.monotonic()
            for session in list(self._sessions):
                self._look_at(session, now)

    def _look_at(self, session: NeuronSession, now: float) -> None:
        limits = self._limits
        if session.closing_s is not None:
            if now - session.closing_s >= limits.watch_interval_s:
                session.abort()
        elif session.is_closing:
            session.closing_s = now
        elif session.neuron_id is None:
            if now - session.opened_s >= limits.register_timeout_s:
                session.close(
                    CLOSE_NO_REGISTER, f"no register within {limits.register_timeout_s:g} s"
                )
        elif session.paused_s is not None and now - session.paused_s >= limits.stall_timeout_s:
            self._logger.warning("neuron_stalled", neuron_id=session.neuron_id)
            session.abort()
        elif now - self._sessions[session] >= limits.ping_interval_s:
            self._sessions[session] = now
            session.ping()

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._logger.error("task_failed", task=name, error=describe(error))


def _refuse(status: int, because: str) -> WSUpgradeResponseWithListener:
    body = f'{{"error":{{"message":"{because}"}}}}'.encode()
    response = WSUpgradeResponse.create_error_response(status, body, _JSON)
    return WSUpgradeResponseWithListener(response, None)


def _quiet_logger() -> logging.Logger:
    """Return a logger that keeps the library's own lines out: each end is told by the session."""
    logger = logging.getLogger("picows.server")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
