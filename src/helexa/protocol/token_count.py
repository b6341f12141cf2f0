"""How a stream says, in a comment between its events, how many tokens it has used so far. Pure.

    : tokens PROMPT COMPLETION CACHED

Callers skip comments. Whoever has to continue the stream counts its tokens by its chunks of text,
and a chunk may have several: three for one emoji, a whole sentence under load. So a neuron whose
engine counts says what the count is wherever chunks alone would tell another one, and says the
prompt's tokens once where the caller wants its usage told.
"""

from typing import Final

from helexa.protocol.inference import Usage

TOKENS_MAX: Final = 1 << 40
_BEGIN: Final = b": tokens "


def count_comment(usage: Usage) -> bytes:
    """Return the comment that tells a count of the whole stream so far."""
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return _BEGIN + b"%d %d %d\n\n" % counts


def count_told(event: bytes) -> Usage | None:
    """Return what such a comment tells, with or without its blank line; None for another event."""
    if not event.startswith(_BEGIN):
        return None
    words = event[len(_BEGIN) :].split()
    if len(words) != 3 or not all(word.isdigit() and len(word) <= 13 for word in words):
        return None
    prompt, completion, cached = (min(int(word), TOKENS_MAX) for word in words)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
