"""Takes an echoed prefix off a continued answer. Pure.

Asked to continue a trailing assistant message, some builds of llama.cpp repeat that message: the
first piece of text is the whole prefix and the first new token in one. Others send only what is
new. Both are in use, so the first piece is looked at: a piece that holds a long prefix can only be
an echo, because a token is short. For a short prefix ("1", then "10": echo of "1" and "0", or the
token "10"?) the text cannot tell, so token texts (`logprobs`) are asked for and compared.
"""

from typing import Final

import msgspec

from helexa.model_runtime.engines.chunks import Choice

SURELY_ECHO_CHARS: Final = 160
"""No vocabulary in use has a token of so many characters; the longest are runs of spaces."""
CHOICES_TRACKED_MAX: Final = 128


class _Token(msgspec.Struct):
    token: str = ""


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


def needs_token_texts(prefix: str) -> bool:
    """Tell whether an echo of `prefix` can only be recognised by comparing token texts."""
    return len(prefix) < SURELY_ECHO_CHARS


class EchoStripper:
    """Strips one prefix, once per choice."""

    __slots__ = ("_by_tokens", "_looked_at", "_prefix")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._by_tokens = needs_token_texts(prefix)
        self._looked_at: set[int] = set()

    def strip(self, choice: Choice) -> bool:
        """Take an echo off `choice.delta.content`; tell whether it was there."""
        delta = choice.delta
        if delta is None or not delta.content or choice.index in self._looked_at:
            return False
        if len(self._looked_at) < CHOICES_TRACKED_MAX:
            self._looked_at.add(choice.index)
        if not delta.content.startswith(self._prefix):
            return False
        if self._by_tokens and self._is_new_text(delta.content, choice.logprobs):
            return False
        delta.content = delta.content[len(self._prefix) :]
        return True

    def _is_new_text(self, content: str, logprobs: object) -> bool:
        """Tell whether the tokens of this piece spell all of it, so that nothing is an echo."""
        if logprobs is None:
            return True
        try:
            tokens = msgspec.convert(logprobs, _Logprobs).content or []
        except msgspec.MsgspecError:
            return True
        spelled = "".join(one.token for one in tokens)
        return spelled == content or len(spelled) >= len(content)
