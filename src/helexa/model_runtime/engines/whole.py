"""An engine's answer in one JSON body: embeddings, or an answer that was not streamed. Pure.

A small body is held until it is known to be JSON, so that a broken one becomes a clean status. A
large one (a thousand vectors) is passed on as it comes and only its end is checked.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from helexa.model_runtime.engines.counting import find_usage
from helexa.model_runtime.engines.failures import (
    CUT,
    ERROR_BODY_BYTES_MAX,
    GARBAGE,
    failure_of,
)
from helexa.model_runtime.interfaces import Ending, Failure
from helexa.protocol.inference import ResponseHead, Usage

HELD_BYTES_MAX: Final = 256 << 10
EDGE_BYTES: Final = 4 << 10
"""Of both ends of a large body: `usage` is told before or after the data."""
_ABSENT: Final = msgspec.Raw()
_HEAD: Final = ResponseHead(status=200, content_type="application/json")


class WholeTranslation:
    """One answer that is a single JSON object."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.failure: Failure | None = None
        self.produced = False
        self._status = 200
        self._held = bytearray()
        self._start = b""
        self._tail = b""

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the engine's status."""
        self._status = status

    def on_data(self, data: bytes) -> bytes:
        """Hold a small body; pass a large one on."""
        if self.head is not None:
            self._tail = (self._tail + data)[-EDGE_BYTES:]
            return data
        if self._status != 200:
            room = ERROR_BODY_BYTES_MAX - len(self._held)
            self._held += data[: max(room, 0)]
            return b""
        self._held += data
        if len(self._held) <= HELD_BYTES_MAX:
            return b""
        self.head = _HEAD
        self.produced = True
        held = bytes(self._held)
        self._held.clear()
        self._start, self._tail = held[:EDGE_BYTES], held[-EDGE_BYTES:]
        return held

    def on_end(self, *, complete: bool) -> Ending:
        """Return the held body if it is whole, or why not."""
        if self._status != 200:
            self.failure = failure_of(self._status, bytes(self._held))
            return Ending(b"", None, failure=self.failure)
        if self.head is not None:
            return self._end_of_large(complete=complete)
        held = bytes(self._held)
        if not complete:
            self.failure = CUT
        elif not _is_answer(held):
            self.failure = GARBAGE
        if self.failure is not None:
            return Ending(b"", None, failure=self.failure)
        self.head = _HEAD
        self.produced = True
        return Ending(held, find_usage(held[:EDGE_BYTES]) or find_usage(held[-EDGE_BYTES:]))

    def _end_of_large(self, *, complete: bool) -> Ending:
        if not complete:
            self.failure = CUT
        elif not (self._start.lstrip().startswith(b"{") and self._tail.rstrip().endswith(b"}")):
            self.failure = GARBAGE
        usage: Usage | None = find_usage(self._tail) or find_usage(self._start)
        return Ending(b"", usage, failure=self.failure)


class _Answer(msgspec.Struct):
    data: msgspec.Raw = _ABSENT
    choices: msgspec.Raw = _ABSENT


def _is_answer(body: bytes) -> bool:
    """Tell whether a body is an object with vectors or choices, in UTF-8."""
    try:
        body.decode()
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
        return False
    return answer.data is not _ABSENT or answer.choices is not _ABSENT
