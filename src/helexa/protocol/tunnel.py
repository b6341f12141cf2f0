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
    ANSWER head length u16 · trailer length u16 · head · trailer · body; the stream is over:
           HEAD, DATA and END of a small answer in one           neuron → cortex, version 2

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
from typing import Final

from helexa.protocol.tunnel_frames import (
    ANSWER,
    ANSWER_LENGTHS,
    BACKLOG_LOW_BYTES,
    DATA,
    END,
    HEAD,
    HEADER_BYTES,
    KINDS,
    MESSAGE_BYTES,
    OPEN,
    RESET,
    STREAMS_MAX,
    TURN_BYTES,
    U16,
    U32,
    WHOLE,
    WINDOW,
    WINDOW_BYTES,
    StreamHandler,
    TunnelError,
    pack_header,
    pack_opening,
    unpack_header,
)
from helexa.protocol.tunnel_stream import NOBODY, Stream

__all__ = ["NOBODY", "Stream", "StreamHandler", "Traffic", "Tunnel", "TunnelError"]

_INTERNAL: Final = b'{"code":"internal_error"}'
_TO_HANDLER: Final = frozenset({DATA, HEAD, END})
Accept = Callable[[Stream, bytes], StreamHandler]


class Traffic:
    """What a tunnel has carried, by message; for its owner to read and to set back."""

    __slots__ = ("bytes_in", "bytes_out", "messages_in", "messages_out", "stalls")

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0
        self.stalls = 0
        """Times that a stream was given more than the other end takes."""


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
        self.answers = False
        """The peer takes ANSWER frames: set by the shell once it knows the peer's version."""
        self.closed = False
        self.traffic = Traffic()

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
        head_bytes = len(head)
        if head_bytes + len(body) <= TURN_BYTES:
            stream._credit -= len(body)
            stream._ending = True
            lead = pack_opening(WHOLE, number, 2 + head_bytes + len(body), head_bytes)
            self._say(lead + head + body)
        else:
            self._put(OPEN, number, U16.pack(head_bytes) + head)
            stream.send_data(body)
            stream.send_end()
        return stream

    def receive(self, message: bytes) -> None:
        """Take one binary message; raises TunnelError where the peer broke a rule."""
        offset, length = 0, len(message)
        traffic = self.traffic
        traffic.messages_in += 1
        traffic.bytes_in += length
        streams = self._streams
        while offset < length:
            if length - offset < HEADER_BYTES:
                raise TunnelError(f"{length - offset} bytes are no frame header")
            kind, number, size = unpack_header(message, offset)
            offset += HEADER_BYTES
            end = offset + size
            if end > length:
                raise TunnelError(
                    f"a frame of {size} bytes in a message with {length - offset} left"
                )
            stream = streams.get(number)
            if stream is not None and kind in _TO_HANDLER:
                self._deliver(kind, stream, message[offset:end])
            elif stream is not None and kind == ANSWER:
                self._answered(stream, message, offset, end)
            elif kind in {OPEN, WHOLE}:
                self._opened(kind, number, message, offset, end)
            elif stream is not None:
                self._control(kind, stream, message[offset:end])
            elif not 0 < number <= self._last_number or kind not in KINDS:
                raise TunnelError(f"a frame of type {kind} for stream {number}, which never was")
            offset = end

    def take(self, limit_bytes: int = MESSAGE_BYTES) -> bytes:
        """Return the next message to send, b"" when there is nothing; call it again until then."""
        out, size = self._out, self._out_bytes
        if size > limit_bytes:
            return self._take_part(limit_bytes)
        if not self._turns:
            if not out:
                self._asleep = True
                return b""
            self._out, self._out_bytes = [], 0
            traffic = self.traffic
            traffic.messages_out += 1
            traffic.bytes_out += size
            return out[0] if len(out) == 1 else b"".join(out)
        writable = self._take_turns(out, size, limit_bytes)
        self._out, self._out_bytes = [], 0
        for stream in writable:
            if not stream.over:
                self._call(stream, lambda _, s=stream: s.handler.on_writable(), b"")  # type: ignore[misc]
        if not out:
            if self._turns or self._out:
                return self.take(limit_bytes)
            self._asleep = True
            return b""
        return self._counted(b"".join(out))

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
            self._call(stream, stream.handler.on_reset, payload)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _deliver(self, kind: int, stream: Stream, payload: bytes) -> None:
        """Give a frame of an answer or a body to its handler: the hot path of both ends."""
        if kind == DATA:
            stream._receivable -= len(payload)
            if stream._receivable < 0:
                raise TunnelError(f"stream {stream.id} was sent more than its window")
        elif self.accepts:
            if kind == HEAD:
                raise TunnelError("a head was sent towards the end that sends them")
        elif kind == END:
            stream.over = True
            stream._queue = None
            del self._streams[stream.id]
        handler = stream.handler
        try:
            if kind == DATA:
                handler.on_data(payload)
            elif kind == END:
                handler.on_end(payload)
            else:
                handler.on_head(payload)
        except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
            self._handler_failed(stream, error)

    def _answered(self, stream: Stream, message: bytes, start: int, end: int) -> None:
        """Give a whole answer to its handler; it is between `start` and `end` of a message."""
        if self.accepts:
            raise TunnelError("an answer was sent towards the end that sends them")
        head_at = start + ANSWER_LENGTHS.size
        if head_at > end:
            raise TunnelError(f"the answer of stream {stream.id} is cut short")
        head_bytes, trailer_bytes = ANSWER_LENGTHS.unpack_from(message, start)
        trailer_at = head_at + head_bytes
        body_at = trailer_at + trailer_bytes
        if body_at > end:
            raise TunnelError(f"the answer of stream {stream.id} is cut short")
        if end - body_at > stream._receivable:
            raise TunnelError(f"stream {stream.id} was sent more than its window")
        self._forget(stream)
        try:
            stream.handler.on_answer(
                message[head_at:trailer_at], message[body_at:end], message[trailer_at:body_at]
            )
        except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
            self._handler_failed(stream, error)

    def _opened(self, kind: int, number: int, message: bytes, start: int, end: int) -> None:
        """Accept a stream whose head and first bytes are between `start` and `end`."""
        accept = self._accept
        if accept is None:
            raise TunnelError("a stream was opened towards the end that opens them")
        if number != self._last_number + 1:
            raise TunnelError(f"stream {number} was opened after {self._last_number}")
        head_at = start + U16.size
        body_at = head_at + U16.unpack_from(message, start)[0] if head_at <= end else head_at
        if body_at > end:
            raise TunnelError(f"the head of stream {number} is cut short")
        if len(self._streams) >= STREAMS_MAX:
            raise TunnelError(f"more than {STREAMS_MAX} streams are open")
        self._last_number = number
        stream = Stream(self, number)
        self._streams[number] = stream
        stream._receivable -= end - body_at
        try:
            stream.handler = handler = accept(stream, message[head_at:body_at])
            if body_at < end and not stream.over:
                handler.on_data(message[body_at:end])
            if kind == WHOLE and not stream.over:
                handler.on_end(b"")
        except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
            self._handler_failed(stream, error)

    def _control(self, kind: int, stream: Stream, payload: bytes) -> None:
        if kind == RESET:
            self._forget(stream)
            self._call(stream, stream.handler.on_reset, payload)
        elif kind == WINDOW:
            if len(payload) != 4:
                raise TunnelError(f"a window of {len(payload)} bytes is not a number")
            stream._credit += U32.unpack(payload)[0]
            if stream._credit > WINDOW_BYTES:
                raise TunnelError(f"stream {stream.id} was given more credit than its window")
            if not stream._ready and stream._can_go():
                self._make_ready(stream)
        else:
            raise TunnelError(f"a frame of type {kind} has no meaning here")

    def _call(self, stream: Stream, callback: Callable[[bytes], None], payload: bytes) -> None:
        try:
            callback(payload)
        except Exception as error:  # noqa: BLE001  one stream's fault must not end the others
            self._handler_failed(stream, error)

    def _handler_failed(self, stream: Stream, error: Exception) -> None:
        """Reset a stream whose consumer failed, and let it end what it holds."""
        stream.reset(_INTERNAL)
        self._fault(error)
        handler, stream.handler = stream.handler, NOBODY
        try:
            handler.on_reset(_INTERNAL)
        except Exception as again:  # noqa: BLE001  it was told; it cannot be helped
            self._fault(again)

    def _forget(self, stream: Stream) -> None:
        stream.over = True
        stream._queue = None
        stream.backlog_bytes = 0
        self._streams.pop(stream.id, None)

    def _put(self, kind: int, number: int, payload: bytes) -> None:
        if self.closed:
            return
        self._say(pack_header(kind, number, len(payload)) + payload)

    def _say(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._asleep:
            self._asleep = False
            self._wake()

    def _make_ready(self, stream: Stream) -> None:
        stream._ready = True
        self._turns.append(stream)
        if self._asleep:
            self._asleep = False
            self._wake()

    def _take_turns(self, out: list[bytes], size: int, limit_bytes: int) -> list[Stream]:
        """Let waiting streams add to `out` in turns; return those that may be given more."""
        turns, writable = self._turns, []
        while turns and size < limit_bytes:
            stream = turns.popleft()
            stream._ready = False
            if stream.over:
                continue
            size += stream._turn(out)
            if stream._can_go():
                self._make_ready(stream)
            if stream.congested and stream.backlog_bytes <= BACKLOG_LOW_BYTES:
                stream.congested = False
                writable.append(stream)
        return writable

    def _take_part(self, limit_bytes: int) -> bytes:
        """Return whole frames of `_out` up to the limit; many small frames can pile up there."""
        size = count = 0
        out = self._out
        while size < limit_bytes and count < len(out):
            size += len(out[count])
            count += 1
        self._out = out[count:]
        self._out_bytes -= size
        return self._counted(b"".join(out[:count]))

    def _counted(self, message: bytes) -> bytes:
        self.traffic.messages_out += 1
        self.traffic.bytes_out += len(message)
        return message
