"""Reading bytes at an offset: the one way header parsers look at a file.

Parsers stay pure: they are given a `ByteSource`, never a path. Every read is bounded by the size
that the source states, so a header cannot make a parser read past the end.
"""

from typing import Protocol


class ByteSource(Protocol):
    """Random access to a file or a buffer."""

    @property
    def size_bytes(self) -> int:
        """Size of the whole thing."""
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`; fewer only at the end."""
        ...


class Buffer:
    """Bytes in memory as a `ByteSource`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size_bytes(self) -> int:
        """Number of bytes held."""
        return len(self._data)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return a slice."""
        return self._data[offset : offset + count]
