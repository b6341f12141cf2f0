"""Server-sent events, the part of the format that inference uses. Pure and bounded.

Source: WHATWG HTML Living Standard, "Server-sent events", section 9.2.6 (interpreting a stream).
"""

from typing import Final

DONE: Final = b"data: [DONE]\n\n"
EVENT_BYTES_MAX: Final = 4 << 20


class EventTooLargeError(ValueError):
    """One event is larger than is held in memory."""


class EventSplitter:
    """Cuts a byte stream into raw events, however it was split on the way.

    An event is the bytes up to and including its blank line. Lines may end in LF or CRLF.
    """

    __slots__ = ("_held", "_held_bytes_max")

    def __init__(self, held_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._held = b""
        self._held_bytes_max = held_bytes_max

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events completed by `data`; raises EventTooLargeError past the bound."""
        held = self._held + data if self._held else data
        if b"\r" in held:
            # A trailing CR may be half of a CRLF: keep it back until its LF is here.
            whole, last = (held[:-1], held[-1:]) if held.endswith(b"\r") else (held, b"")
            held = whole.replace(b"\r\n", b"\n") + last
        parts = held.split(b"\n\n")
        self._held = parts.pop()
        if len(self._held) > self._held_bytes_max:
            raise EventTooLargeError(f"an event has more than {self._held_bytes_max} bytes")
        return [part + b"\n\n" for part in parts if part]

    @property
    def rest(self) -> bytes:
        """Bytes of an event that is not complete yet."""
        return self._held


def data_of(event: bytes) -> bytes | None:
    """Return the payload of an event's data lines, or None for comments and other fields."""
    if event.startswith(b"data:") and event.count(b"\n") == 2:
        return event[5:-2].strip(b" ")
    lines = [
        line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


def event_of(payload: bytes) -> bytes:
    """Return one event that carries `payload` (one line)."""
    return b"data: " + payload + b"\n\n"


def comment_of(text: str) -> bytes:
    """Return a comment line, which clients skip; `text` must be one line."""
    return b": " + text.encode() + b"\n\n"
