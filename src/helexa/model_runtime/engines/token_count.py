"""How many tokens a chat's prompt has: asked of an engine, or estimated. Pure.

An estimate says that it is one: `{"input_tokens": N, "estimated": true}`.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from helexa.model_runtime.engines.counting import TOKENS_MAX
from helexa.model_runtime.engines.failures import ERROR_BODY_BYTES_MAX, GARBAGE, failure_of
from helexa.model_runtime.interfaces import Ending, Failure
from helexa.protocol.inference import ResponseHead

ANSWER_BYTES_MAX: Final = 64 << 20
"""vLLM tells each token's id beside their count."""
BYTES_PER_TOKEN: Final = 4
"""Of prose, code and JSON, on average."""
IMAGE_TOKENS: Final = 1000
"""What models make of an image differs by a factor of ten; a middle."""
_IMAGE: Final = re.compile(rb'"data:[^"]{64,}"')
_HEAD: Final = ResponseHead(status=200, content_type="application/json")
_NO_ROUTE: Final = frozenset({404, 405, 501})
_encode: Final = msgspec.json.Encoder().encode


def estimate(body: bytes) -> int:
    """Return about how many tokens the prompt of a chat's body has."""
    bare, images = _IMAGE.subn(b'""', body)
    return len(bare) // BYTES_PER_TOKEN + images * IMAGE_TOKENS


def told(tokens: int, *, estimated: bool) -> bytes:
    """Return the answer with a count."""
    answer: dict[str, int | bool] = {"input_tokens": tokens}
    if estimated:
        answer["estimated"] = True
    return _encode(answer)


class _Count(msgspec.Struct):
    input_tokens: int | None = None
    """llama.cpp's word."""
    count: int | None = None
    """vLLM's."""


class CountTranslation:
    """An engine's count; `otherwise` is told where the engine is too old to have one."""

    def __init__(self, otherwise: int) -> None:
        self.head: ResponseHead | None = None
        self.failure: Failure | None = None
        self.produced = False
        self._otherwise = otherwise
        self._status = 200
        self._held = bytearray()

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the engine's status."""
        self._status = status

    def on_data(self, data: bytes) -> bytes:
        """Collect; the caller gets nothing before the end."""
        room = ANSWER_BYTES_MAX if self._status == 200 else ERROR_BODY_BYTES_MAX
        self._held += data[: max(room - len(self._held), 0)]
        return b""

    def on_end(self, *, complete: bool) -> Ending:
        """Return the count, or why there is none."""
        if self._status in _NO_ROUTE:
            self.head = _HEAD
            return Ending(told(self._otherwise, estimated=True), None)
        if self._status != 200:
            self.failure = failure_of(self._status, bytes(self._held))
            return Ending(b"", None, failure=self.failure)
        tokens = self._tokens()
        if tokens is None or not complete:
            self.failure = GARBAGE
            return Ending(b"", None, failure=self.failure)
        self.head = _HEAD
        return Ending(told(tokens, estimated=False), None)

    def _tokens(self) -> int | None:
        try:
            found = msgspec.json.decode(self._held, type=_Count)
        except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
            return None
        tokens = found.count if found.input_tokens is None else found.input_tokens
        return tokens if tokens is not None and 0 <= tokens <= TOKENS_MAX else None
