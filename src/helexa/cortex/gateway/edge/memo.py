"""Recalls the head of a connection's last request, so that the next like it is not parsed. Pure.

On a kept-alive connection nearly every client sends the same head again, but for the number in
Content-Length. A head that equals one that was read and found good, byte for byte outside that
number, needs no second judgement: only the number is new, and it is digits. That saves half of
what a small request costs.
"""

import re
from typing import Final

from helexa.cortex.gateway.edge.head import LENGTH_DIGITS_MAX, Head

MISSES_MAX: Final = 3
"""After so many heads in a row that differ otherwise, comparing is not worth it any more."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]++)", re.IGNORECASE)


class HeadMemo:
    """One connection's last good head. `recall` first; where that fails, read and `remember`."""

    __slots__ = ("_front", "_head", "_misses", "_raw", "_rest", "judged")

    def __init__(self) -> None:
        self._head: Head | None = None
        self._raw = b""
        """The very bytes of the last request's head."""
        self._front: bytes | None = None
        """The head up to the number; None until a second head asks for it."""
        self._rest = b""
        self._misses = 0
        self.judged: object = None
        """What whoever admits requests found out about the last head; None after one that differs
        from it. Theirs alone."""

    def recall(self, raw: bytes) -> Head | None:
        """Return what is known of such a head; None if it has to be read."""
        head = self._head
        if head is None:
            self.judged = None
            return None
        if raw == self._raw:
            self._misses = 0
            return head
        if self._front is None:
            self._split()
        front, rest = self._front, self._rest
        assert front is not None
        number = raw[len(front) : len(raw) - len(rest)]
        if (
            not rest
            or not number.isdigit()
            or len(number) > LENGTH_DIGITS_MAX
            or not raw.startswith(front)
            or not raw.endswith(rest)
        ):
            self._missed()
            return None
        self._misses = 0
        self._raw = raw
        head.length = int(number)
        return head

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a head that has just been read and found good."""
        if self._misses >= MISSES_MAX:
            return
        self._raw, self._head = raw, head
        self._front = None

    def _split(self) -> None:
        """Find the number. A good head has at most one Content-Length, so the first is it."""
        found = _LENGTH.search(self._raw)
        if found is None:
            self._front, self._rest = self._raw, b""
        else:
            self._front, self._rest = self._raw[: found.start(1)], self._raw[found.end(1) :]

    def _missed(self) -> None:
        self.judged = None
        self._misses += 1
        if self._misses >= MISSES_MAX:
            self._head = None
            self._raw = b""
