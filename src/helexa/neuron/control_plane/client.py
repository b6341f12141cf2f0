"""Dials cortex for ever: whatever ends a connection, the neuron comes back by itself.

Delays are full jitter, 0.5 s doubling to 15 s, and start over after a connection that held for
30 s. Where trying sooner cannot help (a wrong join token, a taken id, no common version), the
longest delay is used at once and the reason is an error in the log.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import picows
from picows import WSError, WSHandshakeError

from helexa.neuron.control_plane.commands import CommandLines
from helexa.neuron.control_plane.link import End, Link
from helexa.neuron.control_plane.ports import NeuronFace
from helexa.neuron.control_plane.pulse import LinkTimes
from helexa.protocol.codec import FRAME_BYTES_MAX
from helexa.protocol.control import Shutdown
from helexa.protocol.join import (
    CONTROL_PATH,
    HEADER_NODE,
    HEADER_PROOF,
    NONCE_HEX_CHARS,
    make_proof,
)
from helexa.protocol.model import ModelStatus
from helexa.protocol.tunnel import Accept
from helexa.util.backoff import Backoff
from helexa.util.clock import Clock
from helexa.util.errors import describe
from helexa.util.logging import get
from helexa.util.metrics import Metrics, NoMetrics
from helexa.util.tasks import TaskScope
from helexa.util.tunnel_metrics import TunnelMetrics

STABLE_S: Final = 30.0
RETRY: Final = Backoff(initial_s=0.5, ceiling_s=4.0)
"""So that a fleet of any size is whole a few seconds after its cortex is back. A refused connection
costs nobody anything: even 10,000 neurons knock 5,000 times a second at a door that is closed."""
HOPELESS_RETRY_S: Final = 15.0
"""Where only a person can help."""
_HOPELESS: Final = frozenset({End.REFUSED, End.NODE_ID_TAKEN, End.VERSION})
_HINTS: Final = {
    End.REFUSED: "compare the join token files of this neuron and of cortex, and their clocks",
    End.NODE_ID_TAKEN: "give each neuron of a fleet its own --node-id",
    End.VERSION: "run the same release of helexa on both machines",
}


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Where cortex is and how it is dialled. `endpoint` is `ws://host:port` or `wss://…`."""

    endpoint: str
    token: str = ""
    """The join token; empty where cortex asks for none."""
    tls: ssl.SSLContext | None = None
    handshake_s: float = 10.0
    stable_s: float = STABLE_S
    backoff: Backoff = RETRY
    hopeless_retry_s: float = HOPELESS_RETRY_S
    times: LinkTimes = field(default_factory=LinkTimes)


@dataclass(frozen=True, slots=True)
class ControlState:
    """How the connection is, for `/status`."""

    endpoint: str
    connected: bool = False
    cortex_id: str = ""
    version: int | None = None
    attempts: int = 0
    """Tries since the last connection that held."""
    last_end: str = ""
    last_reason: str = ""
    rtt_ms: float | None = None


class ControlClient:
    """The neuron's end of its connection to cortex, over all reconnects.

    `entropy` returns a number in [0, 1), `nonce` fresh hex digits. `run` returns after `close`.
    """

    def __init__(  # noqa: PLR0913  made in one place, by name
        self,
        *,
        settings: ControlSettings,
        face: NeuronFace,
        accept: Accept,
        tasks: TaskScope,
        clock: Clock,
        entropy: Callable[[], float],
        nonce: Callable[[int], str],
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._face = face
        self._accept = accept
        self._tasks = tasks
        self._clock = clock
        self._entropy = entropy
        self._nonce = nonce
        self._metrics = metrics if metrics is not None else NoMetrics()
        self._tunnel_metrics = TunnelMetrics(self._metrics)
        self._metrics.before_render(self.publish)
        self._lines = CommandLines(face, tasks)
        self._stop = asyncio.Event()
        self._link: Link | None = None
        self._attempt = 0
        self._last: tuple[End, str] | None = None
        self._log = get("control_plane").bind(neuron_id=face.descriptor.id)

    # ── used by the app ───────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Stay connected until `close`."""
        while not self._stop.is_set():
            end, reason, delay_s = await self._once()
            self._last = (end, reason)
            if self._stop.is_set():
                return
            self._tell(end, reason, delay_s)
            try:
                async with asyncio.timeout(delay_s):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def report(self, status: ModelStatus) -> None:
        """Tell cortex that a model changed, if it is connected; if not, the next register does."""
        if self._link is not None:
            self._link.report(status)

    def announce_leave(self, reason: str) -> None:
        """Ask cortex for no more requests; those under way go on."""
        if self._link is not None:
            self._link.send(Shutdown(reason=reason))

    def close(self) -> None:
        """End the connection, and `run` with it."""
        self._stop.set()
        if self._link is not None:
            self._link.close("the neuron stops")

    @property
    def state(self) -> ControlState:
        """How the connection is now."""
        link = self._link
        welcome = link.welcome if link is not None else None
        end, reason = self._last if self._last is not None else ("", "")
        return ControlState(
            endpoint=self._settings.endpoint,
            connected=welcome is not None,
            cortex_id=welcome.cortex_id if welcome is not None else "",
            version=welcome.version if welcome is not None else None,
            attempts=self._attempt,
            last_end=str(end),
            last_reason=reason,
            rtt_ms=link.rtt_s * 1e3 if link is not None and link.rtt_s is not None else None,
        )

    # ── one connection ────────────────────────────────────────────────────────────────────────

    async def _once(self) -> tuple[End, str, float]:
        """Dial, stay until the end; return why it ended and how long to wait."""
        began_at = self._clock.monotonic()
        link: Link | None = None
        try:
            link = await self._dial()
            end, reason = await link.ended
            fault = await link.settle()
            if fault and end is End.CLOSED:
                end, reason = End.PROTOCOL, fault
        except WSHandshakeError as error:
            status = int(error.response.status) if error.response is not None else 0
            end, reason = End.REFUSED, _handshake_reason(status, error)
        except (OSError, TimeoutError, WSError) as error:
            end, reason = End.UNREACHABLE, describe(error)
        except Exception as error:  # noqa: BLE001  the neuron must come back, whatever it was
            self._log.exception("dialling_failed")
            end, reason = End.UNREACHABLE, describe(error)
        finally:
            self._link = None
            if link is not None:
                self._count(link)
        held = self._clock.monotonic() - began_at >= self._settings.stable_s
        if held or end is End.NOTICE:
            self._attempt = 0
        return end, reason, self._delay_s(end, link)

    async def _dial(self) -> Link:
        face, settings = self._face, self._settings
        capabilities = await face.capabilities()

        def listener() -> Link:
            return Link(
                face=face,
                capabilities=capabilities,
                accept=self._accept,
                lines=self._lines,
                tasks=self._tasks,
                clock=self._clock,
                times=settings.times,
                log=self._log,
            )

        async with asyncio.timeout(settings.handshake_s):
            _, link = await picows.ws_connect(
                listener,
                settings.endpoint.rstrip("/") + CONTROL_PATH,
                ssl_context=settings.tls,
                websocket_handshake_timeout=settings.handshake_s,
                enable_auto_pong=False,  # the link answers itself, so that a ping is heard too
                max_frame_size=FRAME_BYTES_MAX,
                max_redirects=0,  # the proof is for this cortex only
                extra_headers=self._headers(),
            )
        if link is None:
            raise ConnectionResetError("cortex closed the connection within the handshake")
        assert isinstance(link, Link)
        self._link = link
        link.on_change = self._welcomed
        link.on_pong = self._tunnel_metrics.round_trip
        if link.welcome is not None:
            self._welcomed()
        if self._stop.is_set():
            link.close("the neuron stops")
        return link

    def _headers(self) -> dict[str, str]:
        node_id = self._face.descriptor.id
        headers: dict[str, str] = {HEADER_NODE: node_id}
        if self._settings.token:
            nonce = self._nonce(NONCE_HEX_CHARS // 2)
            timestamp_s = int(self._clock.wall())
            headers[HEADER_PROOF] = make_proof(self._settings.token, node_id, timestamp_s, nonce)
        return headers

    def _welcomed(self) -> None:
        link = self._link
        if link is None or link.welcome is None:
            return
        self._connections(1)
        self._log.info(
            "registered", cortex_id=link.welcome.cortex_id, version=link.welcome.version,
            endpoint=self._settings.endpoint,
        )  # fmt: skip

    # ── between connections ───────────────────────────────────────────────────────────────────

    def _delay_s(self, end: End, link: Link | None) -> float:
        attempt, self._attempt = self._attempt, self._attempt + 1
        entropy = self._entropy()
        if end is End.NOTICE and link is not None and link.notice is not None:
            # All neurons of a cortex that restarts come back at once: spread them.
            wanted_s = min(max(link.notice.reconnect_after_s, 0.0), 60.0)
            return wanted_s * (0.5 + entropy)
        if end in _HOPELESS:
            return self._settings.hopeless_retry_s * (0.5 + entropy / 2)
        return self._settings.backoff.delay_s(attempt, entropy)

    def _tell(self, end: End, reason: str, delay_s: float) -> None:
        self._metrics.counter(
            "helexa_tunnel_reconnects_total", "Connections to cortex that ended", reason=end
        ).inc()
        fields = {"end": end.value, "reason": reason, "retry_in_s": round(delay_s, 2)}
        if end in _HOPELESS:
            self._log.error("cortex_refuses_this_neuron", **fields, hint=_HINTS[end])
        elif end is End.NOTICE:
            self._log.info("cortex_connection_ended", **fields)
        else:
            self._log.warning("cortex_connection_ended", **fields, attempt=self._attempt)

    def _connections(self, count: int) -> None:
        self._metrics.gauge(
            "helexa_tunnel_connections", "Connections to cortex that are up"
        ).set(count)  # fmt: skip

    def _count(self, link: Link) -> None:
        self._connections(0)
        self.publish(link)

    def publish(self, link: Link | None = None) -> None:
        """Add what went over the wire to the metrics."""
        link = link if link is not None else self._link
        if link is not None:
            self._tunnel_metrics.take(link.traffic)


def _handshake_reason(status: int, error: WSHandshakeError) -> str:
    if status in {401, 403}:
        return f"cortex answered {status}: the join token is missing, wrong or too old"
    if status:
        return f"cortex answered {status} instead of opening a websocket"
    return f"the other side does not speak websocket ({error})"[:300]
