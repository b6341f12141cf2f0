"""llama.cpp's chat-shaped `logprobs` of a completion ⇄ the shape of OpenAI's legacy API. Pure."""

from typing import Any

import msgspec


class _Alternative(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0


class _Token(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[_Alternative] = []


class _ChatShaped(msgspec.Struct):
    content: list[_Token] | None = None


class LegacyLogprobs:
    """The logprobs of one choice, piece by piece; `text_offset` counts characters of the answer.

    `keep` collects the pieces for `whole`; a stream passes them on and keeps none.
    """

    __slots__ = ("_keep", "_offset", "_parts")

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._offset = 0
        self._parts: dict[str, list[Any]] = _empty()

    def add(self, logprobs: object) -> dict[str, Any] | None:
        """Return one piece in the legacy shape; None for none. Raises msgspec's errors."""
        if logprobs is None:
            return None
        tokens = msgspec.convert(logprobs, _ChatShaped).content
        if tokens is None:
            return None
        piece = _empty()
        for token in tokens:
            piece["tokens"].append(token.token)
            piece["token_logprobs"].append(token.logprob)
            piece["top_logprobs"].append({one.token: one.logprob for one in token.top_logprobs})
            piece["text_offset"].append(self._offset)
            self._offset += len(token.token)
        if self._keep:
            for name, values in piece.items():
                self._parts[name].extend(values)
        return piece

    def whole(self) -> dict[str, Any] | None:
        """Return all kept pieces as one, or None if there were none."""
        return self._parts if self._parts["tokens"] else None


def _empty() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
