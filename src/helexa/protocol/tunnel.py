"""Many request streams over one websocket, each with its own flow control. Sans-I/O.

What it is not: it opens no socket and reads no clock. A shell gives it the binary messages that
arrive (`receive`) and sends what it has to say (`take`), while the transport can take more.

A message is one or more frames, packed back to back:

    type u8 · stream u32 · length u16 · payload         (big endian, payload at most 65,535 bytes)

    OPEN   head length u16 · head · first bytes of the body      cortex → neuron
    WHOLE  the same; the body is complete, nothing follows       cortex → neuron
    HEAD   status and headers of the answer                      neuron → cortex
    DATA   bytes of a body; spends the sender's credit           both ways
    END    cortex: the body is complete. neuron: trailer; the stream is over
    RESET  the stream is over without an answer, whoever says it; payload tells why
    WINDOW u32 more credit for the other side's DATA             both ways

Rules
- Each direction of a stream starts with `WINDOW_BYTES` of credit. The receiver gives credit back
  as its consumer takes the bytes, so a slow consumer stalls only its own stream, and the memory
  of a stream is bounded by its window.
- What is small and finds the line free goes out at once, in order. Past `DIRECT_BYTES` waiting,
  streams queue and take turns of `TURN_BYTES`: a large body never blocks a small one.
- Stream numbers rise by one and are never used twice. Frames of a stream that is already over
  are dropped; frames of one that never was are the peer's fault (`TunnelError`).

The shape is HTTP/2's (RFC 9113, sections 5 and 6.9), less everything that one trusted hop with
whole messages does not need.
"""

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

OPEN: Final = 1
DATA: Final = 2
HEAD: Final = 3
END: Final = 4
RESET: Final = 5
WINDOW: Final = 6
WHOLE: Final = 7

WINDOW_BYTES: Final = 256 * 1024
PAYLOAD_BYTES_MAX: Final = 65_535
MESSAGE_BYTES: Final = 256 * 1024
"""A message is closed once it has this many bytes; the largest is one frame longer."""
DIRECT_BYTES: Final = 64 * 1024
TURN_BYTES: Final = 16 * 1024
BACKLOG_HIGH_BYTES: Final = 64 * 1024
BACKLOG_LOW_BYTES: Final = 16 * 1024
STREAMS_MAX: Final = 65_536
_GIVE_BACK_BYTES: Final = WINDOW_BYTES // 2

_HEADER: Final = Struct(">BIH")
_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_HEADER_BYTES: Final = _HEADER.size
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack_from


class TunnelError(Exception):
    """The peer broke the rules of the tunnel; the connection must be closed."""


class StreamHandler(Protocol):
    """The consumer of one stream; called from `receive` or `take`, it must not block."""

    def on_head(self, payload: bytes) -> None:
        """Take the head of the answer."""
        ...

    def on_data(self, data: bytes) -> None:
        """Take bytes of the body; call `Stream.consumed` once they are out of memory."""
        ...

    def on_end(self, payload: bytes) -> None:
        """Take the trailer (cortex), or learn that the body is complete (neuron)."""
        ...

    def on_reset(self, payload: bytes) -> None:
        """Learn that the stream is over without an answer."""
        ...

    def on_writable(self) -> None:
        """Learn that the backlog is low again after `Stream.congested` was true."""
        ...


class Stream:
    """One request and its answer. Made by `Tunnel.open` or given to `accept`."""

    __slots__ = (
        "_congested", "_credit", "_ending", "_queue", "_ready", "_receivable", "_taken", "_tunnel",
        "backlog_bytes", "handler", "id", "over",
    )  # fmt: skip

    def __init__(self, tunnel: "Tunnel", number: int) -> None:
        self._tunnel = tunnel
        self.id = number
        self.handler: StreamHandler = _NOBODY
        self.over = False
        """Nothing more will come or go."""
        self.backlog_bytes = 0
        """Bytes accepted for sending that are still in memory here."""
        self._queue: deque[tuple[int, bytes]] | None = None
        self._ready = False
        self._ending = False
        self._congested = False
        self._credit = WINDOW_BYTES
        self._receivable = WINDOW_BYTES
        self._taken = 0

    @property
    def congested(self) -> bool:
        """The peer takes less than is given: stop until `on_writable`."""
        return self._congested

    def send_head(self, payload: bytes) -> None:
        """Send the head of the answer; raises ValueError past 65,535 bytes."""
        self._send(HEAD, payload)

    def send_data(self, data: bytes) -> None:
        """Send bytes of the body, any number of them; what has no credit yet waits here."""
        if len(data) <= PAYLOAD_BYTES_MAX:
            self._send(DATA, data)
            return
        view = memoryview(data)
        for start in range(0, len(data), PAYLOAD_BYTES_MAX):
            self._send(DATA, bytes(view[start : start + PAYLOAD_BYTES_MAX]))

    def send_end(self, payload: bytes = b"") -> None:
        """Say that the body is complete; on the accepting side the stream is over with it."""
        if not self._ending and not self.over:
            self._send(END, payload)
            self._ending = True

    def reset(self, payload: bytes = b"") -> None:
        """End the stream at once, unsent bytes included. Nothing happens if it is over."""
        if self.over:
            return
        self._tunnel._forget(self)
        self._tunnel._put(RESET, self.id, payload[:PAYLOAD_BYTES_MAX])

    def consumed(self, byte_count: int) -> None:
        """Tell that received bytes are out of memory, so that the peer may send more."""
        taken = self._taken + byte_count
        if taken < _GIVE_BACK_BYTES:
            self._taken = taken
            return
        self._taken = 0
        if not self.over:
            self._receivable += taken
            self._tunnel._put(WINDOW, self.id, _U32.pack(taken))

    def _send(self, kind: int, payload: bytes) -> None:
        if self.over or self._ending:
            return
        size = len(payload)
        if size > PAYLOAD_BYTES_MAX:
            raise ValueError(f"{size} bytes do not fit a frame of {PAYLOAD_BYTES_MAX}")
        tunnel = self._tunnel
        if not self._queue and tunnel._out_bytes < DIRECT_BYTES:
            if kind != DATA:
                tunnel._put(kind, self.id, payload)
                if kind == END and tunnel.accepts:
                    tunnel._forget(self)
                return
            if size <= self._credit:
                self._credit -= size
                tunnel._put(DATA, self.id, payload)
                return
        if self._queue is None:
            self._queue = deque()
        self._queue.append((kind, payload))
        self.backlog_bytes += size
        if self.backlog_bytes > BACKLOG_HIGH_BYTES:
            self._congested = True
        if not self._ready and (self._credit or kind != DATA):
            tunnel._make_ready(self)

    def _turn(self, out: list[bytes]) -> int:
        """Move up to `TURN_BYTES` of the queue to `out`; return the bytes moved."""
        queue = self._queue
        moved = 0
        while queue and moved < TURN_BYTES:
            kind, payload = queue[0]
            size = len(payload)
            if kind == DATA and (size > self._credit or size > TURN_BYTES):
                allowed = min(self._credit, TURN_BYTES)
                if not allowed:
                    break
                queue[0] = (DATA, payload[allowed:])
                payload, size = payload[:allowed], allowed
            else:
                queue.popleft()
            if kind == DATA:
                self._credit -= size
            self.backlog_bytes -= size
            out.append(_pack_header(kind, self.id, size))
            out.append(payload)
            moved += _HEADER_BYTES + size
            if kind == END and self._tunnel.accepts:
                self._tunnel._forget(self)
        return moved

    def _can_go(self) -> bool:
        queue = self._queue
        return bool(queue) and (self._credit > 0 or queue[0][0] != DATA)  # type: ignore[index]


class _Nobody:
    """The handler of a stream whose consumer is gone."""

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


_NOBODY: Final[StreamHandler] = _Nobody()
Accept = Callable[[Stream, bytes], StreamHandler]


class Tunnel:
    """One end of a connection's streams.

    `accept(stream, head)` makes this the accepting end and returns the new stream's handler; None
    makes it the opening end. `wake()` is called when there is something to send after there was
    nothing; the shell answers with `take` until it returns b"". `fault(error)` hears of a handler
    that raised: its stream is reset, the others go on.
    """

    def __init__(
        self,
        *,
        accept: Accept | None,
        wake: Callable[[], None],
        fault: Callable[[Exception], None],
    ) -> None:
        self._accept = accept
        self.accepts = accept is not None
        self._wake = wake
        self._fault = fault
        self._streams: dict[int, Stream] = {}
        self._last_number = 0
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._turns: deque[Stream] = deque()
        self._asleep = True
        self.closed = False

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, head: bytes, body: bytes, handler: StreamHandler) -> Stream:
        """Start a stream with its head and whole body; raises TunnelError once closed or full."""
        if self.closed or len(self._streams) >= STREAMS_MAX or self._last_number >= 0xFFFFFFFF:
            raise TunnelError("the tunnel is closed or full")
        self._last_number = number = self._last_number + 1
        stream = Stream(self, number)
        stream.handler = handler
        self._streams[number] = stream
        lead = _U16.pack(len(head)) + head
        if len(lead) + len(body) <= TURN_BYTES:
            stream._credit -= len(body)
            stream._ending = True
            self._put(WHOLE, number, lead + body)
        else:
            self._put(OPEN, number, lead)
            stream.send_data(body)
            stream.send_end()
        return stream

    def receive(self, message: bytes) -> None:
        """Take one binary message; raises TunnelError where the peer broke a rule."""
        offset, length = 0, len(message)
        streams = self._streams
        while offset < length:
            if length - offset < _HEADER_BYTES:
                raise TunnelError(f"{length - offset} bytes are no frame header")
            kind, number, size = _unpack_header(message, offset)
            offset += _HEADER_BYTES
            end = offset + size
            if end > length:
                raise TunnelError(
                    f"a frame of {size} bytes in a message with {length - offset} left"
                )
            stream = streams.get(number)
            if kind == DATA and stream is not None:
                stream._receivable -= size
                if stream._receivable < 0:
                    raise TunnelError(f"stream {number} was sent more than its window")
                try:
                    stream.handler.on_data(message[offset:end])
                except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
                    self._handler_failed(stream, error)
            elif kind in {OPEN, WHOLE}:
                self._opened(number, message[offset:end], whole=kind == WHOLE)
            elif stream is not None:
                self._control(kind, stream, message[offset:end])
            elif not 0 < number <= self._last_number or kind not in _KINDS:
                raise TunnelError(f"a frame of type {kind} for stream {number}, which never was")
            offset = end

    def take(self, limit_bytes: int = MESSAGE_BYTES) -> bytes:
        """Return the next message to send, b"" when there is nothing; call it again until then."""
        out, size = self._out, self._out_bytes
        writable: list[Stream] = []
        if size > limit_bytes:
            return self._take_part(limit_bytes)
        turns = self._turns
        while turns and size < limit_bytes:
            stream = turns.popleft()
            stream._ready = False
            if stream.over:
                continue
            size += stream._turn(out)
            if stream._can_go():
                self._make_ready(stream)
            if stream._congested and stream.backlog_bytes <= BACKLOG_LOW_BYTES:
                stream._congested = False
                writable.append(stream)
        self._out, self._out_bytes = [], 0
        for stream in writable:
            if not stream.over:
                self._call(stream, stream.handler.on_writable)
        if not out:
            if self._turns or self._out:
                return self.take(limit_bytes)
            self._asleep = True
        return b"".join(out)

    def close(self, payload: bytes) -> None:
        """End every stream: each handler gets `on_reset(payload)`; nothing is sent any more."""
        self.closed = True
        streams = list(self._streams.values())
        self._streams.clear()
        self._turns.clear()
        self._out, self._out_bytes = [], 0
        for stream in streams:
            stream.over = True
            stream._queue = None
            self._call(stream, lambda s=stream: s.handler.on_reset(payload))  # type: ignore[misc]

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _opened(self, number: int, payload: bytes, *, whole: bool) -> None:
        accept = self._accept
        if accept is None:
            raise TunnelError("a stream was opened towards the end that opens them")
        if number != self._last_number + 1:
            raise TunnelError(f"stream {number} was opened after {self._last_number}")
        if len(payload) < 2 or len(payload) < 2 + _U16.unpack_from(payload)[0]:
            raise TunnelError(f"the head of stream {number} is cut short")
        if len(self._streams) >= STREAMS_MAX:
            raise TunnelError(f"more than {STREAMS_MAX} streams are open")
        self._last_number = number
        stream = Stream(self, number)
        self._streams[number] = stream
        body_at = 2 + _U16.unpack_from(payload)[0]
        body = payload[body_at:]
        stream._receivable -= len(body)
        try:
            stream.handler = handler = accept(stream, payload[2:body_at])
            if body and not stream.over:
                handler.on_data(body)
            if whole and not stream.over:
                handler.on_end(b"")
        except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
            self._handler_failed(stream, error)

    def _control(self, kind: int, stream: Stream, payload: bytes) -> None:
        if kind == HEAD and not self.accepts:
            self._call(stream, lambda: stream.handler.on_head(payload))
        elif kind == END:
            if not self.accepts:
                self._forget(stream)
            self._call(stream, lambda: stream.handler.on_end(payload))
        elif kind == RESET:
            self._forget(stream)
            self._call(stream, lambda: stream.handler.on_reset(payload))
        elif kind == WINDOW:
            if len(payload) != 4:
                raise TunnelError(f"a window of {len(payload)} bytes is not a number")
            stream._credit += _U32.unpack(payload)[0]
            if stream._credit > WINDOW_BYTES:
                raise TunnelError(f"stream {stream.id} was given more credit than its window")
            if not stream._ready and stream._can_go():
                self._make_ready(stream)
        else:
            raise TunnelError(f"a frame of type {kind} has no meaning here")

    def _call(self, stream: Stream, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
            self._handler_failed(stream, error)

    def _handler_failed(self, stream: Stream, error: Exception) -> None:
        stream.reset(b'{"code":"internal_error"}')
        self._fault(error)

    def _forget(self, stream: Stream) -> None:
        stream.over = True
        stream._queue = None
        stream.backlog_bytes = 0
        self._streams.pop(stream.id, None)

    def _put(self, kind: int, number: int, payload: bytes) -> None:
        if self.closed:
            return
        size = len(payload)
        self._out.append(_pack_header(kind, number, size))
        self._out.append(payload)
        self._out_bytes += _HEADER_BYTES + size
        if self._asleep:
            self._asleep = False
            self._wake()

    def _make_ready(self, stream: Stream) -> None:
        stream._ready = True
        self._turns.append(stream)
        if self._asleep:
            self._asleep = False
            self._wake()

    def _take_part(self, limit_bytes: int) -> bytes:
        """Return whole frames of `_out` up to the limit; many small frames can pile up there."""
        size = count = 0
        out = self._out
        while size < limit_bytes and count < len(out):
            size += len(out[count]) + len(out[count + 1])
            count += 2
        self._out = out[count:]
        self._out_bytes -= size
        return b"".join(out[:count])


_KINDS: Final = frozenset({OPEN, DATA, HEAD, END, RESET, WINDOW, WHOLE})
