"""Counts the tokens of one answer from what an engine tells about them. Pure.

llama.cpp tells `timings` per choice (prompt = cached + processed); the OpenAI way is one `usage`.
A cut answer has neither: then what was seen is counted, so that an abandoned answer is not free.
"""

import re
from typing import Any, Final

import msgspec

from helexa.protocol.inference import Usage

TOKENS_MAX: Final = 1 << 40
_BRACE: Final = re.compile(rb"[{}]")


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class UsageBody(msgspec.Struct):
    """OpenAI's `usage` object."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None

    def usage(self) -> Usage:
        """Return it as the product counts; out-of-range numbers are brought into range."""
        prompt, completion = _sane(self.prompt_tokens), _sane(self.completion_tokens)
        of_prompt, of_completion = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=min(_sane(of_prompt.cached_tokens), prompt) if of_prompt else 0,
            reasoning_tokens=(
                min(_sane(of_completion.reasoning_tokens), completion) if of_completion else 0
            ),
        )


_decode_usage: Final = msgspec.json.Decoder(UsageBody).decode


class Timings(msgspec.Struct):
    """llama.cpp's `timings` of one choice, the part that counts tokens."""

    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class TokenCounter:
    """The tokens of one answer.

    `choices_per_prompt` is the request's `n`: the choices of one prompt share its prompt tokens.
    """

    __slots__ = ("_choices_per_prompt", "_reported", "_timings", "pieces", "prompt_tokens_seen")

    def __init__(self, choices_per_prompt: int = 1) -> None:
        self._choices_per_prompt = max(choices_per_prompt, 1)
        self._timings: dict[int, Timings] = {}
        self._reported: Usage | None = None
        self.pieces = 0
        """Content deltas so far: a lower bound of the tokens generated."""
        self.prompt_tokens_seen = 0
        """The prompt's length as progress tells it."""

    def add_timings(self, choice: int, timings: Timings) -> None:
        """Take what the engine told about one choice."""
        self._timings[choice] = timings

    def report(self, usage: UsageBody) -> None:
        """Take a `usage` object; the last one counts."""
        self._reported = usage.usage()

    def exact(self) -> Usage | None:
        """Return what the engine counted, or None if it told nothing."""
        if not self._timings:
            return self._reported
        prompts: dict[int, list[Timings]] = {}
        for choice, timings in self._timings.items():
            prompts.setdefault(choice // self._choices_per_prompt, []).append(timings)
        prompt = cached = 0
        for choices in prompts.values():
            prompt += max(_sane(one.cache_n) + _sane(one.prompt_n) for one in choices)
            cached += min(_sane(one.cache_n) for one in choices)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=sum(_sane(one.predicted_n) for one in self._timings.values()),
            cached_tokens=min(cached, prompt),
        )

    def so_far(self) -> Usage | None:
        """Return the exact count, else a lower bound from what was seen, else None."""
        exact = self.exact()
        if exact is not None or not (self.pieces or self.prompt_tokens_seen):
            return exact
        return Usage(
            prompt_tokens=_sane(self.prompt_tokens_seen), completion_tokens=_sane(self.pieces)
        )


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return a count as OpenAI's `usage` object; sub-counts of zero are left out."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens:
        told["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return told


def find_usage(text: bytes) -> Usage | None:
    """Return the last `usage` object in part of a JSON text or stream, without parsing the rest.

    A key inside a JSON string has its quotes escaped, so the search cannot be fooled by content.
    """
    end = len(text)
    for _ in range(8):  # `"usage":null` follows the real one in some servers' streams
        start = text.rfind(b'"usage"', 0, end)
        if start < 0:
            return None
        usage = _object_after(text, start + 7)
        if usage is not None:
            return usage
        end = start
    return None


def _object_after(text: bytes, start: int) -> Usage | None:
    opening = text.find(b"{", start, start + 8)
    if opening < 0 or text[start:opening].strip() != b":":
        return None
    depth = 0
    for brace in _BRACE.finditer(text, opening, opening + 4096):
        depth += 1 if brace[0] == b"{" else -1
        if depth == 0:
            try:
                return _decode_usage(text[opening : brace.end()]).usage()
            except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
                return None
    return None


def _sane(count: int | None) -> int:
    return min(max(count or 0, 0), TOKENS_MAX)
