"""Reads an engine's streamed answer chunk by chunk and knows when it is whole. Pure, bounded.

It is the judge of what an engine sends: an answer counts as whole only if every choice finished
and the end mark came. Text that is no UTF-8, half JSON, an oversized event, a change of the
answer's id, words after a finish: garbage, which fails this one answer and nothing else.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from helexa.model_runtime.engines.chunks import Choice, Chunk, decode_chunk
from helexa.model_runtime.engines.counting import TokenCounter
from helexa.model_runtime.engines.failures import CUT, GARBAGE, UNFINISHED, failure_of_event
from helexa.model_runtime.interfaces import Failure
from helexa.protocol.sse import EventSplitter, EventTooLargeError, data_of

EVENT_BYTES_MAX: Final = 1 << 20
CHOICES_MAX: Final = 4096
_DONE: Final = b"[DONE]"


class ChunkReader:
    """One streamed answer.

    `extra_event_bytes` is added to the bound of an event (an echoed prefix comes in one event).
    """

    __slots__ = (
        "_finished",
        "_seen",
        "_splitter",
        "counter",
        "done",
        "failure",
        "finish_reason",
        "last",
        "produced",
    )

    def __init__(self, counter: TokenCounter, extra_event_bytes: int = 0) -> None:
        self._splitter = EventSplitter(EVENT_BYTES_MAX + extra_event_bytes)
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.counter = counter
        self.done = False
        """The end mark came; whatever follows it is ignored."""
        self.failure: Failure | None = None
        self.finish_reason = ""
        """Of the first choice that finished."""
        self.last: Chunk | None = None
        """The newest chunk, for its id, model and time."""
        self.produced = False
        """A first piece of an answer was read."""

    def read(self, data: bytes) -> Iterator[tuple[bytes, Chunk]]:
        """Yield each event that is complete now with its chunk; ends at `failure` or `done`."""
        if self._is_over():
            return
        try:
            events = self._splitter.feed(data)
        except EventTooLargeError:
            self.failure = GARBAGE
            return
        for event in events:
            chunk = self._chunk(event)
            if chunk is not None:
                yield event, chunk
            if self._is_over():
                return

    def close(self, *, complete: bool) -> Failure | None:
        """The body ended; return what is wrong with the answer, None if it is whole."""
        if self.failure is not None:
            return self.failure
        if not self.done:
            self.failure = UNFINISHED if complete else CUT
        elif not self._seen or self._seen - self._finished:
            self.failure = GARBAGE
        return self.failure

    def _is_over(self) -> bool:
        return self.done or self.failure is not None

    def _chunk(self, event: bytes) -> Chunk | None:
        payload = data_of(event)
        if payload is None:
            if event.startswith(b"error:"):  # llama.cpp before mid-2025
                self.failure = failure_of_event(event[6:].strip())
            return None
        if payload == _DONE:
            self.done = True
            return None
        try:
            if not event.isascii():
                event.decode()
            chunk = decode_chunk(payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
            self.failure = GARBAGE
            return None
        if chunk.error is not None:
            self.failure = failure_of_event(payload)
            return None
        return chunk if self._takes(chunk) else None

    def _takes(self, chunk: Chunk) -> bool:
        last = self.last
        if last is not None and chunk.id != last.id:
            self.failure = GARBAGE
            return False
        self.last = chunk
        if chunk.prompt_progress is not None:
            self.counter.prompt_tokens_seen = chunk.prompt_progress.total
            return True
        for choice in chunk.choices:
            if not self._takes_choice(choice):
                self.failure = GARBAGE
                return False
        if chunk.timings is not None and chunk.choices:
            self.counter.add_timings(chunk.choices[0].index, chunk.timings)
        if chunk.usage is not None:
            self.counter.report(chunk.usage)
        return True

    def _takes_choice(self, choice: Choice) -> bool:
        index = choice.index
        if index in self._finished or not 0 <= index < CHOICES_MAX:
            return False
        self._seen.add(index)
        delta = choice.delta
        if choice.text or (delta is not None and not delta.is_first_of_nothing()):
            self.produced = True
            self.counter.pieces += 1
        if choice.finish_reason is not None:
            self._finished.add(index)
            self.finish_reason = self.finish_reason or choice.finish_reason
        return True
