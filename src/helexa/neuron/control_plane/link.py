"""One websocket to cortex, from its handshake to its end.

Text frames are control messages, binary frames are the tunnel's. One timer watches the line: it
sends heartbeats and pings, and gives the line up when nothing has come for too long, because a
half-open TCP connection says nothing by itself. What it is not: the dialling again (`client`).
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport

from helexa.neuron.control_plane.commands import CommandLines
from helexa.neuron.control_plane.ports import NeuronFace
from helexa.neuron.control_plane.pulse import LinkTimes, Pulse
from helexa.protocol.codec import decode_from_cortex, encode
from helexa.protocol.control import (
    CapabilitiesReport,
    CortexMessage,
    HealthReport,
    Heartbeat,
    ModelReport,
    NeuronMessage,
    ProtocolFault,
    Provisioning,
    Register,
    RequestCapabilities,
    ShutdownNotice,
    Welcome,
)
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import Reset
from helexa.protocol.join import CLOSE_NODE_ID_TAKEN, CLOSE_VERSION_MISMATCH
from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import Capabilities
from helexa.protocol.tunnel import Accept, Tunnel, TunnelError
from helexa.protocol.tunnel_frames import MESSAGE_BYTES
from helexa.protocol.version import VERSION, VERSION_ANSWER, VERSION_MIN
from helexa.util.clock import Clock
from helexa.util.errors import describe
from helexa.util.tasks import TaskScope

FAULTS_MAX: Final = 100
WRITE_BUFFER_BYTES: Final = 256 * 1024
CLOSE_GRACE_S: Final = 1.0
_CLOSE_OK: Final = 1000
_CLOSE_GOING_AWAY: Final = 1001
_CLOSE_PROTOCOL_ERROR: Final = 1002
_CLOSE_POLICY: Final = 1008
_LOST: Final = msgspec.json.encode(
    Reset(
        code=ErrorCode.UPSTREAM_CONNECTION_ERROR.value,
        message="the connection between cortex and neuron was lost",
    )
)


class End(StrEnum):
    """Why a connection is over; also the label of the reconnect counter."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """The handshake was answered by an HTTP status, such as 401 for a wrong join token."""
    NODE_ID_TAKEN = "node_id_taken"
    VERSION = "version"
    SILENT = "silent"
    CLOSED = "closed"
    PROTOCOL = "protocol"
    """Cortex broke the protocol."""
    NOTICE = "notice"
    """Cortex said that it would leave."""
    STOPPED = "stopped"
    """We left."""


class Link(WSListener):  # type: ignore[misc]  # picows is a compiled module
    """The listener of one connection."""

    def __init__(  # noqa: PLR0913  made in one place, by name
        self,
        *,
        face: NeuronFace,
        capabilities: Capabilities,
        accept: Accept,
        lines: CommandLines,
        tasks: TaskScope,
        clock: Clock,
        times: LinkTimes,
        log: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[tuple[End, str]] = loop.create_future()
        self.welcome: Welcome | None = None
        self.notice: ShutdownNotice | None = None
        self.rtt_s: float | None = None
        self.on_change: Callable[[], None] = _nothing
        """Called when cortex has welcomed us."""
        self.on_pong: Callable[[float], None] = _ignore
        """Told the seconds from each ping to its pong."""
        self._face = face
        self._capabilities = msgspec.structs.replace(capabilities, generation=1)
        self._lines = lines
        self._tasks = tasks
        self._clock = clock
        self._times = times
        self._log = log
        self._loop = loop
        self._tunnel = Tunnel(accept=accept, wake=self._wake, fault=self._handler_failed)
        self.traffic = self._tunnel.traffic
        self._transport: Any = None
        self._writable = True
        self._flushing = False
        self._end: tuple[End, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pulse = Pulse(times, clock.monotonic())
        self._sequence = 0
        self._faults = 0
        self._problems: tuple[str, ...] = ()
        self._reports_owed = False
        self._probing = False

    # ── WSListener ────────────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Speak first: register."""
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._send(
            Register(
                version_min=VERSION_MIN,
                version_max=VERSION,
                neuron=self._face.descriptor,
                capabilities=self._capabilities,
                models=self._face.statuses(with_config=True),
            )
        )
        self._timer = self._loop.call_later(self._times.tick_s, self._tick)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame; every frame is a sign of life."""
        self._pulse.heard()
        if self._end is not None:
            return
        kind = frame.msg_type
        if not frame.fin or frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._break_off(End.PROTOCOL, "a fragmented or compressed frame")
        elif kind == WSMsgType.BINARY:
            self._take_binary(frame.get_payload_as_bytes())
        elif kind == WSMsgType.TEXT:
            self._take_text(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PONG:
            self._take_pong()
        elif kind == WSMsgType.CLOSE:
            self._take_close(int(frame.get_close_code()), frame.get_close_message() or b"")
        else:
            self._break_off(End.PROTOCOL, "a continuation of nothing")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Cancel every request of this connection and tell the owner."""
        if self._timer is not None:
            self._timer.cancel()
        self._tunnel.close(_LOST)
        if self._end is None:
            left = self.notice is not None
            self._end = (End.NOTICE, "cortex has left as it said") if left else (
                End.CLOSED, "cortex closed the connection"
            )  # fmt: skip
        if not self.ended.done():
            self.ended.set_result(self._end)

    def pause_writing(self) -> None:
        """The socket takes no more: requests stall one by one as their windows fill."""
        self._writable = False

    def resume_writing(self) -> None:
        """Send what has gathered."""
        self._writable = True
        if self._reports_owed:
            self._heartbeat()
        self._wake()

    # ── used by the owner ─────────────────────────────────────────────────────────────────────

    def report(self, status: ModelStatus) -> None:
        """Tell that a model changed; while the line is full, all are told together later."""
        if self.welcome is None:
            return
        if self._writable:
            self._send(ModelReport(status=status))
        else:
            self._reports_owed = True

    def send(self, message: NeuronMessage) -> None:
        """Send a message, if cortex has welcomed us."""
        if self.welcome is not None:
            self._send(message)

    def close(self, reason: str) -> None:
        """Leave; the connection ends within a second even if cortex does not read."""
        self._hang_up(End.STOPPED, reason, _CLOSE_GOING_AWAY)

    async def settle(self) -> str:
        """Wait until the library is done; return what it found wrong with the peer's frames."""
        try:
            await self._transport.wait_disconnected()
        except Exception as error:  # noqa: BLE001  it hands on whatever ended the connection
            return describe(error)
        return ""

    # ── what arrives ──────────────────────────────────────────────────────────────────────────

    def _take_binary(self, message: bytes) -> None:
        if self.welcome is None:
            self._break_off(End.PROTOCOL, "a tunnel message before the welcome")
            return
        try:
            self._tunnel.receive(message)
        except TunnelError as error:
            self._break_off(End.PROTOCOL, str(error))

    def _take_pong(self) -> None:
        rtt_s = self._pulse.ponged(self._clock.monotonic())
        if rtt_s is not None:
            self.rtt_s = rtt_s
            self.on_pong(rtt_s)

    def _take_text(self, frame: bytes) -> None:
        message = decode_from_cortex(frame)
        if self.welcome is None:
            self._take_first(message, frame)
        elif isinstance(message, ProtocolFault):
            self._take_fault(message, frame)
        elif isinstance(message, Provisioning):
            self._lines.submit(message, self.send)
        elif isinstance(message, RequestCapabilities):
            self._ask_hardware()
        elif isinstance(message, ShutdownNotice):
            self.notice = message
            self._log.info("cortex_is_leaving", reason=message.reason)
        else:
            self._send(ProtocolFault(code="unexpected_welcome", message="we are welcome already"))

    def _take_first(self, message: CortexMessage, frame: bytes) -> None:
        """Only a welcome, or why there is none, may be the first frame."""
        if isinstance(message, Welcome):
            if not VERSION_MIN <= message.version <= VERSION:
                text = f"cortex speaks version {message.version}, we {VERSION_MIN} to {VERSION}"
                self._break_off(End.VERSION, text)
                return
            self.welcome = message
            self._tunnel.answers = message.version >= VERSION_ANSWER
            self._pulse.welcomed(message.heartbeat_interval_s)
            self._heartbeat()
            self.on_change()
        elif isinstance(message, ProtocolFault) and _is_fault_frame(frame):
            self._log.error("cortex_refused_us", code=message.code, reason=message.message)
        elif isinstance(message, ShutdownNotice):
            self.notice = message
        else:
            self._break_off(End.PROTOCOL, "the first frame of cortex is not a welcome")

    def _take_fault(self, fault: ProtocolFault, frame: bytes) -> None:
        """Cortex did not understand us (say so in the log), or we do not (answer it)."""
        self._faults += 1
        if self._faults > FAULTS_MAX:
            self._hang_up(End.PROTOCOL, "too many frames that make no sense", _CLOSE_POLICY)
        elif _is_fault_frame(frame):
            self._log.warning("cortex_did_not_understand", code=fault.code, reason=fault.message)
        else:
            self._log.warning("frame_not_understood", code=fault.code, reason=fault.message)
            self._send(fault)

    def _take_close(self, code: int, message: bytes) -> None:
        reason = message.decode("utf-8", "replace")[:200]
        if code == CLOSE_NODE_ID_TAKEN:
            self._end = (End.NODE_ID_TAKEN, reason or "another neuron with this id is connected")
        elif code == CLOSE_VERSION_MISMATCH:
            self._end = (End.VERSION, reason or "no protocol version is spoken by both")
        elif self.notice is not None:
            self._end = (End.NOTICE, reason)
        else:
            self._end = (End.CLOSED, f"cortex closed the connection with {code} {reason}".strip())
        self._transport.send_close(max(code, 1000))
        self._disconnect()

    def _ask_hardware(self) -> None:
        if self._probing:
            return  # the answer that is on its way is as fresh
        self._probing = True
        self._tasks.start(self._report_capabilities(), "report capabilities")

    async def _report_capabilities(self) -> None:
        try:
            found = await self._face.capabilities()
        finally:
            self._probing = False
        told = msgspec.structs.replace(found, generation=self._capabilities.generation + 1)
        self._capabilities = told
        self.send(CapabilitiesReport(capabilities=told, models=self._face.statuses()))

    # ── what is sent ──────────────────────────────────────────────────────────────────────────

    def _send(self, message: NeuronMessage) -> None:
        if self._end is None:
            self._transport.send(WSMsgType.TEXT, encode(message))

    def _heartbeat(self) -> None:
        health = self._face.health()
        self._problems = health.problems
        self._reports_owed = False
        self._pulse.told()
        self._sequence += 1
        self._send(
            Heartbeat(
                sequence=self._sequence,
                health=health,
                load=self._face.load(),
                models=self._face.statuses(),
                capabilities_generation=self._capabilities.generation,
            )
        )

    def _wake(self) -> None:
        """The tunnel has something to say: once this loop turn is done, in one message."""
        if self._writable and not self._flushing and self._end is None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        tunnel, transport = self._tunnel, self._transport
        while self._writable and self._end is None:
            message = tunnel.take(MESSAGE_BYTES)
            if not message:
                return
            transport.send(WSMsgType.BINARY, message)

    # ── the timer ─────────────────────────────────────────────────────────────────────────────

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._times.tick_s, self._tick)
        due = self._pulse.tick(self._clock.monotonic())
        if due.give_up:
            self._end = (End.SILENT, due.give_up)
            self._transport.disconnect(graceful=False)
            return
        if due.ping:
            self._transport.send_ping()
        if self.welcome is None or not self._writable:
            return  # what cannot go out now would only be stale later
        if due.heartbeat:
            self._heartbeat()
            return
        health = self._face.health()
        if health.problems != self._problems:
            self._problems = health.problems
            self._send(HealthReport(health=health))

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _break_off(self, end: End, reason: str) -> None:
        self._hang_up(end, reason, _CLOSE_PROTOCOL_ERROR)

    def _hang_up(self, end: End, reason: str, code: int) -> None:
        if self._end is None:
            self._end = (end, reason)
            self._transport.send_close(code, reason.encode()[:120])
            self._disconnect()

    def _disconnect(self) -> None:
        transport = self._transport
        transport.disconnect()
        self._loop.call_later(CLOSE_GRACE_S, partial(transport.disconnect, graceful=False))

    def _handler_failed(self, error: Exception) -> None:
        self._log.error("request_handler_failed", exc_info=error)


def _is_fault_frame(frame: bytes) -> bool:
    """Tell a fault that cortex reports from one that we found in its frame."""
    try:
        return isinstance(msgspec.json.decode(frame, type=ProtocolFault), ProtocolFault)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def _nothing() -> None:
    """Do nothing."""


def _ignore(_: float) -> None:
    """Nobody wants to know."""
