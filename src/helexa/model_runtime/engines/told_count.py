"""Tells in a stream how many tokens it has used, where its chunks alone would mislead. Pure.

See `protocol.token_count` for what is told and to whom. An engine that reports its count with
every chunk (llama.cpp's `timings_per_token`, vLLM's `continuous_usage_stats`) is the source.
"""

from typing import Final

import msgspec

from helexa.model_runtime.engines.chunks import Chunk
from helexa.model_runtime.engines.counting import TokenCounter
from helexa.protocol.inference import Continued
from helexa.protocol.token_count import count_comment

_TIMINGS: Final = b',"timings":{'
_USAGE: Final = b',"usage":{'


def without_report(event: bytes) -> bytes | None:
    """Return a chunk's event without the count at its end, byte for byte; None if none is there.

    Both engines write it last. A text cannot be taken for it: its quotes would be escaped.
    """
    if not event.endswith(b"}}\n\n"):
        return None
    start = event.rfind(_TIMINGS)
    if start < 0:
        start = event.rfind(_USAGE)
    if start < 0 or event.count(b"{", start) != event.count(b"}", start) - 1:
        return None
    return event[:start] + b"}\n\n"


class CountTeller:
    """The counts of one stream of one choice.

    `owes_prompt`: the prompt's tokens are told with the first count, which is then always told.
    """

    __slots__ = ("_continues", "_counter", "_hides_cached", "_owes_prompt", "_seen")

    def __init__(
        self,
        counter: TokenCounter,
        continues: Continued | None,
        *,
        owes_prompt: bool,
        hides_cached: bool = False,
    ) -> None:
        self._counter = counter
        self._continues = continues
        self._hides_cached = hides_cached
        self._owes_prompt = owes_prompt and (continues is None or continues.prompt_tokens is None)
        self._seen = 0 if continues is None else continues.completion_tokens
        """What a reader of the stream would count so far."""

    def after(self, chunk: Chunk, *, says: bool) -> bytes:
        """Return what follows a chunk; `says`: its caller is given a piece of text with it."""
        self._seen += says
        timings, usage = chunk.timings, chunk.usage
        if timings is not None:
            count = timings.predicted_n
        elif usage is not None:
            count = usage.completion_tokens or 0
        else:
            return b""
        continues = self._continues
        if continues is not None:
            count += continues.completion_tokens
        if count == self._seen and not self._owes_prompt:
            return b""
        exact = self._counter.exact()
        if exact is None:
            return b""
        whole = exact if continues is None else continues.whole(exact)
        self._seen = whole.completion_tokens
        self._owes_prompt = False
        if self._hides_cached:
            whole = msgspec.structs.replace(whole, cached_tokens=0)
        return count_comment(whole)
