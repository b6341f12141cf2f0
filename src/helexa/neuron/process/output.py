"""What a process printed last, however much it prints. Bounded, and cheap to feed."""

from collections import deque
from typing import Final

OUTPUT_BYTES_MAX: Final = 256 << 10
LINE_CHARS_MAX: Final = 2000


class OutputRing:
    """The last bytes of an output, cut into lines only when somebody looks."""

    __slots__ = ("_bytes_max", "_chunks", "_held_bytes", "seen_bytes")

    def __init__(self, bytes_max: int = OUTPUT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self.seen_bytes = 0
        """All that was ever printed."""

    def feed(self, data: bytes) -> None:
        """Take what was printed now."""
        self.seen_bytes += len(data)
        if len(data) >= self._bytes_max:
            self._chunks.clear()
            data = data[-self._bytes_max :]
            self._held_bytes = 0
        self._chunks.append(data)
        self._held_bytes += len(data)
        while self._held_bytes > self._bytes_max:
            excess = self._held_bytes - self._bytes_max
            first = self._chunks[0]
            if len(first) <= excess:
                self._chunks.popleft()
                self._held_bytes -= len(first)
            else:
                self._chunks[0] = first[excess:]
                self._held_bytes -= excess
        if len(self._chunks) > 512:
            whole = b"".join(self._chunks)
            self._chunks.clear()
            self._chunks.append(whole)

    def tail(self, lines_max: int = 20) -> tuple[str, ...]:
        """Return the last lines that are not empty: printable text, long ones cut."""
        text = b"".join(self._chunks).decode("utf-8", "backslashreplace")
        lines = [line.rstrip() for line in text.splitlines()]
        last = [line for line in lines if line][-lines_max:] if lines_max > 0 else []
        return tuple(_clean(line) for line in last)


def _clean(line: str) -> str:
    if len(line) > LINE_CHARS_MAX:
        line = line[:LINE_CHARS_MAX] + "…"
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
