"""Recalls the head of a connection's last request, so that the next like it is not parsed. Pure.

On a kept-alive connection nearly every client sends the same head again, but for the number in
Content-Length. A head that equals one that was read and found good, byte for byte outside that
number, needs no second judgement: only the number is new, and it is digits. That saves half of
what a small request costs.
"""

import re
from typing import Final

from helexa.cortex.gateway.edge.head import LENGTH_DIGITS_MAX, HeadReader

MISSES_MAX: Final = 3
"""After so many heads in a row that differ otherwise, comparing is not worth it any more."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]++)", re.IGNORECASE)


class HeadMemo:
    """One connection's last good head. `recall` first; where that fails, read and `remember`."""

    __slots__ = (
        "_expect",
        "_fields",
        "_front",
        "_head",
        "_keep_alive",
        "_method",
        "_minor",
        "_misses",
        "_path",
        "_query",
        "_rest",
        "_whole_length",
        "judged",
    )

    def __init__(self) -> None:
        self._head: bytes | None = None
        self._front: bytes | None = None
        """The head up to the number; None until a second head asks for it."""
        self._rest = b""
        self._whole_length = 0
        """The body's length where the head has no number: 0, or CHUNKED."""
        self._misses = 0
        self._fields: dict[bytes, bytes] = {}
        self._method = self._path = self._query = ""
        self._minor = 1
        self._keep_alive = True
        self._expect: bytes | None = None
        self.judged: object = None
        """What whoever admits requests found out about the last head; None after one that differs
        from it. Theirs alone."""

    def recall(self, head: bytes, reader: HeadReader) -> bool:
        """Put what is known of such a head into `reader`; False if it has to be read."""
        if self._head is None:
            self.judged = None
            return False
        if self._front is None:
            self._split(self._head)
        front, rest = self._front, self._rest
        assert front is not None
        if not rest:
            if head != front:
                return self._missed()
            reader.fields = self._fields.copy()
            reader.length = self._whole_length
        else:
            number = head[len(front) : len(head) - len(rest)]
            if (
                not number.isdigit()
                or len(number) > LENGTH_DIGITS_MAX
                or not head.startswith(front)
                or not head.endswith(rest)
            ):
                return self._missed()
            reader.fields = {**self._fields, b"content-length": number}
            reader.length = int(number)
        self._misses = 0
        reader.method = self._method
        reader.path = self._path
        reader.query = self._query
        reader.minor = self._minor
        reader.keep_alive = self._keep_alive
        reader.expect = self._expect
        return True

    def remember(self, head: bytes, reader: HeadReader) -> None:
        """Keep a head that `reader` has just read and found good."""
        if self._misses >= MISSES_MAX:
            return
        self._head = head
        self._front = None
        self._whole_length = reader.length
        self._fields = reader.fields.copy()  # the reader's own goes to a handler
        self._method = reader.method
        self._path = reader.path
        self._query = reader.query
        self._minor = reader.minor
        self._keep_alive = reader.keep_alive
        self._expect = reader.expect

    def _split(self, head: bytes) -> None:
        """Find the number. A good head has at most one Content-Length, so the first is it."""
        found = _LENGTH.search(head)
        if found is None:
            self._front, self._rest = head, b""
        else:
            self._front, self._rest = head[: found.start(1)], head[found.end(1) :]
        self._head = b""

    def _missed(self) -> bool:
        self.judged = None
        self._misses += 1
        if self._misses >= MISSES_MAX:
            self._head = None
            self._fields = {}
        return False
