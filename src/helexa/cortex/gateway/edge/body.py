"""Collects a request body: one of declared length, or one in chunks, taken apart strictly. Pure."""

from typing import Final

from helexa.cortex.gateway.edge import grammar
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode, Refusal

# A body in chunks of a byte or two costs more to take apart than it is worth. Past the first
# chunks, which may be as small as they like, an average is asked for.
SMALL_CHUNKS_MAX: Final = 4096
CHUNK_BYTES_AVERAGE_MIN: Final = 16

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


def over_limit(limits: Limits) -> Refusal:
    """Return the 413 of a body past `body_bytes_max`."""
    return Refusal(
        ErrorCode.PAYLOAD_TOO_LARGE, f"the body is larger than {limits.body_bytes_max} bytes"
    )


def no_room(limits: Limits) -> Refusal:
    """Return the 429 of a body for which there is no memory now."""
    return Refusal(
        ErrorCode.RATE_LIMIT_EXCEEDED,
        f"the requests that are being worked on have {limits.bodies_bytes_max} bytes already",
    )


class DeclaredBody:
    """Collects a body of known length. `feed` until `done`."""

    __slots__ = ("_left", "body", "refusal")

    def __init__(self, length: int) -> None:
        self._left = length
        self.body = bytearray()
        self.refusal: Refusal | None = None
        """Always None: a length that is too large was refused with the head."""

    @property
    def done(self) -> bool:
        """Whether the last byte has arrived."""
        return not self._left

    def feed(self, data: bytes | bytearray, offset: int) -> int:
        """Take bytes of `data` from `offset` on; return where the body ended or data does."""
        stop = min(len(data), offset + self._left)
        self.body += memoryview(data)[offset:stop]
        self._left -= stop - offset
        return stop


class ChunkedBody:
    """Collects one body. `feed` until `done` or `refusal`; trailers are checked and dropped."""

    __slots__ = (
        "_chunks",
        "_extension_bytes",
        "_left",
        "_limits",
        "_step",
        "_tail",
        "_trailer_bytes",
        "body",
        "refusal",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._step = _SIZE
        self._left = 0
        self._chunks = 0
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._tail = b""
        self.body = bytearray()
        self.refusal: Refusal | None = None

    @property
    def done(self) -> bool:
        """Whether the last chunk and its trailers have arrived."""
        return self._step == _DONE

    def feed(self, data: bytes | bytearray, offset: int) -> int:
        """Take bytes of `data` from `offset` on; return where the body ended, or the end of data.

        A line that is cut by the end of data is kept (bounded) and continued by the next call.
        """
        kept = len(self._tail)
        if kept:
            data = self._tail + data[offset:]
            position, moved = 0, offset - kept
            self._tail = b""
        else:
            position, moved = offset, 0
        size = len(data)
        while position < size and self.refusal is None and self._step != _DONE:
            if self._step == _DATA:
                taken = min(self._left, size - position)
                self.body += memoryview(data)[position : position + taken]
                self._left -= taken
                position += taken
                if not self._left:
                    self._step = _DATA_END
                continue
            following = self._line(data, position)
            if following < 0:
                self._tail = bytes(data[position:])
                position = size
            else:
                position = following
        return position + moved

    def _line(self, data: bytes | bytearray, position: int) -> int:
        """Take one line of framing; return where it ends, or -1 if it is not all there."""
        end = data.find(b"\n", position)
        longest = (
            self._limits.trailer_bytes_max
            if self._step == _TRAILER
            else self._limits.chunk_line_bytes_max
        )
        if (len(data) if end < 0 else end) - position > longest:
            self._refuse(f"a line of chunk framing is longer than {longest} bytes")
            return position
        if end < 0:
            self._judge_part(bytes(data[position:]))
            return -1
        end += 1
        if self._step == _SIZE:
            self._size_line(data, position, end)
        elif self._step == _DATA_END:
            if data[position:end] != b"\r\n":
                self._refuse("a chunk is not followed by CR LF")
            self._step = _SIZE
        else:
            self._trailer_line(bytes(data[position:end]))
        return end

    def _judge_part(self, part: bytes) -> None:
        """Refuse at once what can never become a line of framing, so that nobody waits for it."""
        if self._step == _DATA_END and part != b"\r":
            self._refuse("a chunk is not followed by CR LF")
        elif self._step == _SIZE and grammar.CHUNK_LINE_PART.fullmatch(part) is None:
            self._refuse("a chunk's size is 1 to 8 hexadecimal digits and CR LF")

    def _size_line(self, data: bytes | bytearray, position: int, end: int) -> None:
        matched = grammar.CHUNK_LINE.fullmatch(data, position, end)
        if matched is None:
            self._refuse("a chunk's size is 1 to 8 hexadecimal digits and CR LF")
            return
        size = int(matched[1], 16)
        self._chunks += 1
        if matched[2] is not None:
            self._extension_bytes += len(matched[2]) + 1
            if self._extension_bytes > self._limits.chunk_extension_bytes_max:
                self._refuse("the chunk extensions are too large together")
        if len(self.body) + size > self._limits.body_bytes_max:
            self.refusal = over_limit(self._limits)
        elif self._chunks > SMALL_CHUNKS_MAX + len(self.body) // CHUNK_BYTES_AVERAGE_MIN:
            self._refuse(f"the chunks are smaller than {CHUNK_BYTES_AVERAGE_MIN} bytes on average")
        self._left = size
        self._step = _DATA if size else _TRAILER

    def _trailer_line(self, line: bytes) -> None:
        if line == b"\r\n":
            self._step = _DONE
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > self._limits.trailer_bytes_max:
            self.refusal = grammar.too_large(
                f"the trailers are larger than {self._limits.trailer_bytes_max} bytes"
            )
        elif grammar.FIELD.fullmatch(line) is None:
            self._refuse("a trailer line is not `name: value`")

    def _refuse(self, because: str) -> None:
        self.refusal = grammar.bad_request(because)
