"""The frames of the tunnel: types, layout and bounds. See `protocol.tunnel` for what they mean."""

from struct import Struct
from typing import Final, Protocol

OPEN: Final = 1
DATA: Final = 2
HEAD: Final = 3
END: Final = 4
RESET: Final = 5
WINDOW: Final = 6
WHOLE: Final = 7
ANSWER: Final = 8
KINDS: Final = frozenset({OPEN, DATA, HEAD, END, RESET, WINDOW, WHOLE, ANSWER})


WINDOW_BYTES: Final = 256 * 1024
PAYLOAD_BYTES_MAX: Final = 65_535
MESSAGE_BYTES: Final = 256 * 1024
"""A message is closed once it has this many bytes; the largest is one frame longer."""
DIRECT_BYTES: Final = 64 * 1024
TURN_BYTES: Final = 16 * 1024
BACKLOG_HIGH_BYTES: Final = 64 * 1024
BACKLOG_LOW_BYTES: Final = 16 * 1024
STREAMS_MAX: Final = 65_536
GIVE_BACK_BYTES: Final = WINDOW_BYTES // 2

HEADER: Final = Struct(">BIH")
U16: Final = Struct(">H")
U32: Final = Struct(">I")
HEADER_BYTES: Final = HEADER.size
pack_header = HEADER.pack
pack_opening = Struct(">BIHH").pack
"""A frame header and the length of the head that opens its payload."""
pack_answer = Struct(">BIHHH").pack
"""A frame header and the lengths of the head and the trailer that open its payload."""
ANSWER_LENGTHS: Final = Struct(">HH")
unpack_header = HEADER.unpack_from


class TunnelError(Exception):
    """The peer broke the rules of the tunnel; the connection must be closed."""


class StreamHandler(Protocol):
    """The consumer of one stream; called from `receive` or `take`, it must not block."""

    __slots__ = ()

    def on_head(self, payload: bytes) -> None:
        """Take the head of the answer."""
        ...

    def on_data(self, data: bytes) -> None:
        """Take bytes of the body; call `Stream.consumed` once they are out of memory."""
        ...

    def on_end(self, payload: bytes) -> None:
        """Take the trailer (cortex), or learn that the body is complete (neuron)."""
        ...

    def on_answer(self, head: bytes, body: bytes, trailer: bytes) -> None:
        """Take a whole answer (cortex); unless a consumer knows better, part by part."""
        self.on_head(head)
        if body:
            self.on_data(body)
        self.on_end(trailer)

    def on_reset(self, payload: bytes) -> None:
        """Learn that the stream is over without an answer."""
        ...

    def on_writable(self) -> None:
        """Learn that the backlog is low again after `Stream.congested` was true."""
        ...
