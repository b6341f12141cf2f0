"""One neuron's websocket: frames to events, messages to frames, and the tunnel beside them.

This is the gateway's hot path: a binary frame goes to the tunnel as it is, and what the tunnel has
to say leaves in one message per loop turn. Everything else here is rare.

A peer that breaks the rules is told why, by an `error` message or a close code, and bounded:
1002 broken websocket or tunnel, 1003 binary before `welcome`, 1007 text that is not UTF-8, 1008 no
`register` (in time) or too many faults, 1009 a message over 1 MiB.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from helexa.cortex.control_plane.allowance import Allowance
from helexa.cortex.control_plane.inbound import event_of, problem_of
from helexa.cortex.control_plane.links import Links
from helexa.cortex.orchestrator.events import Event, NeuronGone, NeuronRegistered
from helexa.protocol.codec import FRAME_BYTES_MAX, decode_from_neuron, encode
from helexa.protocol.control import CortexMessage, NeuronMessage, ProtocolFault, Register, Welcome
from helexa.protocol.errors import ErrorCode
from helexa.protocol.ids import NeuronId
from helexa.protocol.inference import Reset
from helexa.protocol.join import CLOSE_VERSION_MISMATCH
from helexa.protocol.tunnel import Stream, StreamHandler, Tunnel, TunnelError
from helexa.protocol.tunnel_frames import MESSAGE_BYTES
from helexa.protocol.version import VERSION, VERSION_MIN, negotiate
from helexa.util.errors import describe

MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX
FAULTS_MAX: Final = 20
"""Bad messages that a connection may send before it is closed."""
CONTROL_BUFFER_BYTES_MAX: Final = 4 << 20
"""Unsent bytes past which a control message is not accepted for this neuron any more."""
WRITE_HIGH_BYTES: Final = 256 * 1024
"""Unsent bytes past which the tunnel waits; they are counted beyond the kernel's own buffer."""
_REASON_BYTES_MAX: Final = 120

_BINARY: Final = WSMsgType.BINARY
_TEXT: Final = WSMsgType.TEXT
_CONTINUATION: Final = WSMsgType.CONTINUATION
_CLOSE: Final = WSMsgType.CLOSE
_PONG: Final = WSMsgType.PONG


@dataclass(frozen=True, slots=True)
class SessionPorts:
    """What a session is given by the server that made it."""

    report: Callable[[Event], None]
    links: Links
    monotonic: Callable[[], float]
    logger: Any
    opened: Callable[["NeuronSession"], None]
    ended: Callable[["NeuronSession"], None]
    count_fault: Callable[[str], None]
    """Told of each fault's code, for the metrics."""
    round_trip: Callable[[float], None]
    """Told the seconds from each ping to its pong."""


class NeuronSession(WSListener):  # type: ignore[misc]  # picows has no usable type information
    """One connection. `proven` is the neuron id that its join proof was made for, if any was."""

    def __init__(self, ports: SessionPorts, proven: NeuronId | None) -> None:
        super().__init__()
        self._ports = ports
        self._proven = proven
        self._monotonic = ports.monotonic
        self._transport: WSTransport | None = None
        self.tunnel: Tunnel | None = None
        """Open once it is welcome; its `traffic` is what went over the wire."""
        self._neuron_id: NeuronId | None = None
        self._version = 0
        self._epoch = 0
        self._faults = 0
        self._allowance = Allowance(ports.monotonic())
        self._resting = False
        """It said more than it may, and is not read for a while."""
        self._fragments: list[bytes] = []
        self._fragments_kind = _TEXT
        self._closing = False
        self._writable = True
        self._flush_due = False
        self._pinged_s: float | None = None
        self.connection = 0
        self.heard_s = ports.monotonic()
        self.opened_s = self.heard_s
        self.paused_s: float | None = None
        """Since when the peer takes nothing of what is sent; None while it does."""
        self.closing_s: float | None = None
        """Since when the watch has seen it closing; a close that hangs is cut."""

    @property
    def neuron_id(self) -> NeuronId | None:
        """Return the id it registered with, None before that."""
        return self._neuron_id

    @property
    def epoch(self) -> int:
        """Return the epoch it registered with, 0 before that."""
        return self._epoch

    @property
    def is_closing(self) -> bool:
        """A close was sent or received, or the websocket layer has given the peer up."""
        transport = self._transport
        return self._closing or (transport is not None and transport.is_close_frame_sent)

    # ── what picows calls ─────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Count as a connection from here on; nothing is said before the neuron's `register`.

        A handshake that is broken off, or is no websocket's, never gets here.
        """
        self._transport = transport
        self.connection = self._ports.links.add(self)
        self._ports.opened(self)
        transport.underlying_transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame; the first branch is the hot one."""
        if self._closing:
            return
        self.heard_s = self._monotonic()
        kind = frame.msg_type
        tunnel = self.tunnel
        if kind is _BINARY and tunnel is not None and frame.fin and not self._fragments:
            # A reserved bit would mean an extension's coding, which the tunnel cannot read either.
            try:
                tunnel.receive(frame.get_payload_as_bytes())
            except TunnelError as error:
                self._ports.count_fault("tunnel")
                self.close(WSCloseCode.PROTOCOL_ERROR, str(error))
            return
        if kind is _CLOSE:
            self.close(WSCloseCode.OK, "")
        elif kind in {_TEXT, _BINARY, _CONTINUATION}:
            self._assemble(kind, frame)
        elif kind is _PONG and self._pinged_s is not None:
            self._ports.round_trip(self.heard_s - self._pinged_s)
            self._pinged_s = None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is closed: every stream is reset, and the loop hears of it at once."""
        self._closing = True
        because = self._why_closed(transport)
        if self.tunnel is not None:
            self.tunnel.close(_LOST)
        self._ports.links.drop(self.connection)
        if self._neuron_id is not None:
            self._ports.report(NeuronGone(self._neuron_id, self.connection, because))
        self._ports.ended(self)

    def pause_writing(self) -> None:
        """The peer takes less than is sent."""
        self._writable = False
        self.paused_s = self._monotonic()

    def resume_writing(self) -> None:
        """The peer takes bytes again."""
        self._writable = True
        self.paused_s = None
        self._flush()

    # ── what the loop and the gateway call ────────────────────────────────────────────────────

    def send(self, message: CortexMessage) -> bool:
        """Send a control message; False if the connection is gone or its buffer is full."""
        transport = self._transport
        if transport is None or self.is_closing or transport.is_disconnected:
            return False
        if transport.underlying_transport.get_write_buffer_size() > CONTROL_BUFFER_BYTES_MAX:
            return False
        transport.send(_TEXT, encode(message))
        return True

    def welcome(self, cortex_id: str, heartbeat_interval_s: float) -> None:
        """Accept the registration; from here on the tunnel is open."""
        if self.is_closing:
            return
        self.tunnel = Tunnel(accept=None, wake=self._wake, fault=self._handler_failed)
        hello = Welcome(
            version=self._version, cortex_id=cortex_id, heartbeat_interval_s=heartbeat_interval_s
        )
        self.send(hello)

    def open_stream(self, head: bytes, body: bytes, handler: StreamHandler) -> Stream | None:
        """Open a request stream; None if the tunnel is not open or full."""
        tunnel = self.tunnel
        if tunnel is None or self._closing:
            return None
        try:
            return tunnel.open(head, body, handler)
        except TunnelError:
            return None

    def close(self, code: int, because: str) -> None:
        """Say why, stop listening, and close; the server cuts a peer that does not take it."""
        if self._closing:
            return
        self._closing = True
        transport = self._transport
        if transport is None:
            return
        reason = because.encode()[:_REASON_BYTES_MAX].decode("utf-8", "ignore")
        transport.send_close(code, reason.encode())
        transport.disconnect()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._closing = True
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.disconnect(graceful=False)

    def ping(self) -> None:
        """Ask for a sign of life; the answer counts as heard."""
        if self._transport is not None and not self.is_closing:
            self._pinged_s = self._pinged_s or self._monotonic()
            self._transport.send_ping()

    # ── messages ──────────────────────────────────────────────────────────────────────────────

    def _assemble(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Put a fragmented message together, bounded, and hand it on when it is whole."""
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(WSCloseCode.PROTOCOL_ERROR, "a reserved bit is set")
            return
        if (kind is _CONTINUATION) != bool(self._fragments):
            self.close(WSCloseCode.PROTOCOL_ERROR, "fragments out of order")
            return
        payload = frame.get_payload_as_bytes()
        if kind is not _CONTINUATION:
            self._fragments_kind = kind
        size = sum(map(len, self._fragments)) + len(payload)
        if size > MESSAGE_BYTES_MAX or len(self._fragments) >= FRAGMENTS_MAX:
            self.close(WSCloseCode.MESSAGE_TOO_BIG, f"a message over {MESSAGE_BYTES_MAX} bytes")
            return
        if not frame.fin:
            self._fragments.append(payload)
            return
        whole = b"".join([*self._fragments, payload])
        self._fragments = []
        if self._fragments_kind is _BINARY:
            self._take_binary(whole)
        else:
            self._take_text(whole)

    def _take_binary(self, message: bytes) -> None:
        if self.tunnel is None:
            self.close(WSCloseCode.UNSUPPORTED_DATA, "a binary message before welcome")
            return
        try:
            self.tunnel.receive(message)
        except TunnelError as error:
            self._ports.count_fault("tunnel")
            self.close(WSCloseCode.PROTOCOL_ERROR, str(error))

    def _rest(self, wait_s: float) -> None:
        """Read nothing until the debt is paid; what was read already is still taken."""
        transport = self._transport
        if wait_s and not self._closing and transport is not None:
            if not self._resting:
                self._resting = True
                self._ports.count_fault("too_much")
                transport.underlying_transport.pause_reading()
            loop = asyncio.get_running_loop()
            loop.call_later(wait_s, lambda: self._rest(self._allowance.wait_s(self._monotonic())))
        elif self._resting:
            self._resting = False
            if transport is not None and not transport.is_disconnected:
                transport.underlying_transport.resume_reading()

    def _take_text(self, payload: bytes) -> None:
        wait_s = self._allowance.spend(len(payload), self.heard_s)
        if wait_s and not self._resting:
            self._rest(wait_s)
        try:
            payload.decode()
        except UnicodeDecodeError:
            self.close(WSCloseCode.INVALID_TEXT, "a text message is not UTF-8")
            return
        message = decode_from_neuron(payload)
        if self._neuron_id is None:
            self._register(message)
            return
        if isinstance(message, ProtocolFault):
            self._fault_or_report(message, payload)
            return
        problem = problem_of(message)
        if isinstance(message, Register):
            problem = "this connection is registered already"
        if problem is not None:
            self._fault("not_allowed", problem)
            return
        event = event_of(self._neuron_id, self.connection, message)
        if event is not None:
            self._ports.report(event)

    def _register(self, message: NeuronMessage) -> None:
        if not isinstance(message, Register):
            detail = f": {message.message}" if isinstance(message, ProtocolFault) else ""
            self._ports.count_fault("no_register")
            self.close(WSCloseCode.POLICY_VIOLATION, f"the first message must be register{detail}")
            return
        problem = problem_of(message)
        if problem is None and self._proven not in {None, message.neuron.id}:
            problem = f"the join proof was made for {self._proven}, not for {message.neuron.id}"
        if problem is not None:
            self._ports.count_fault("bad_register")
            self.close(WSCloseCode.POLICY_VIOLATION, problem)
            return
        version = negotiate(message.version_min, message.version_max)
        if version is None:
            self._ports.count_fault("version")
            self.close(
                CLOSE_VERSION_MISMATCH,
                f"cortex speaks protocol versions {VERSION_MIN} to {VERSION}, "
                f"the neuron {message.version_min} to {message.version_max}",
            )
            return
        self._version = version
        self._neuron_id, self._epoch = message.neuron.id, message.neuron.epoch
        self._ports.report(NeuronRegistered(self.connection, message))

    def _fault_or_report(self, message: ProtocolFault, payload: bytes) -> None:
        """Tell our own finding about a frame from the peer's complaint about one of ours."""
        try:
            kind = _kind.decode(payload).kind
        except msgspec.MsgspecError:
            kind = ""
        if kind == "error" and message.code not in _OUR_CODES:
            found = {"code": message.code, "because": message.message}
            self._ports.logger.warning("neuron_complained", neuron_id=self._neuron_id, **found)
            return
        self._fault(message.code, message.message)

    def _fault(self, code: str, because: str) -> None:
        self._faults += 1
        self._ports.count_fault(code)
        if self._faults > FAULTS_MAX:
            self.close(WSCloseCode.POLICY_VIOLATION, f"more than {FAULTS_MAX} bad messages")
            return
        self.send(ProtocolFault(code=code, message=because[:500]))

    # ── the tunnel's way out ──────────────────────────────────────────────────────────────────

    def _wake(self) -> None:
        if not self._flush_due and self._writable:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what the tunnel has, while the transport takes it."""
        self._flush_due = False
        tunnel, transport = self.tunnel, self._transport
        if tunnel is None or transport is None or self._closing:
            return
        take, send = tunnel.take, transport.send
        while self._writable:
            message = take(MESSAGE_BYTES)
            if not message:
                return
            send(_BINARY, message)

    def _handler_failed(self, error: Exception) -> None:
        log = self._ports.logger
        log.error("stream_handler_failed", neuron_id=self._neuron_id, error=describe(error))

    def _why_closed(self, transport: WSTransport) -> str:
        handshake = transport.close_handshake
        if handshake is None:
            return "the connection was lost"
        info = handshake.sent if not handshake.recv_then_sent else handshake.recv
        if info is None:
            return "the connection was lost"
        who = "cortex" if info is handshake.sent else "the neuron"
        return f"closed by {who}: {int(info.code)} {info.reason}".rstrip()


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""


FRAGMENTS_MAX: Final = 1024
_kind: Final = msgspec.json.Decoder(_Kind)
_OUR_CODES: Final = frozenset(
    {"frame_too_large", "malformed_frame", "malformed_message", "unknown_kind"}
)
_GONE: Final = "the neuron's connection was lost"
_LOST: Final = msgspec.json.encode(
    Reset(code=ErrorCode.UPSTREAM_CONNECTION_ERROR, message=_GONE, retry_elsewhere=True)
)
