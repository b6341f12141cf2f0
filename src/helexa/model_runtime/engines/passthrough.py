"""An answer of a server that already speaks OpenAI: every byte is passed on as it came. Pure.

Nothing is parsed while bytes flow; a bounded end of the answer is kept, and looked at once, to
find its usage and to tell a whole answer from a cut one.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from helexa.model_runtime.engines.counting import UsageBody, find_usage
from helexa.model_runtime.engines.failures import CUT, GARBAGE, UNFINISHED
from helexa.model_runtime.interfaces import Ending, Failure
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import ResponseHead, Usage

TAIL_BYTES_MAX: Final = 64 << 10
"""Of a JSON answer. A stream needs less: its last events tell finish and usage."""
STREAM_TAIL_BYTES_MAX: Final = 8 << 10
PIECES_KEPT_MAX: Final = 128
START_BYTES_MAX: Final = 4 << 10
ERROR_BYTES_MAX: Final = 64 << 10
RETRY_AFTER_S_MAX: Final = 3600
_JSON_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError)

_FIRST_TOKEN: Final = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|arguments|embedding)"\s*:\s*(?:"[^"]|\[)'
)
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"([a-z_]{1,32})"')
_STREAM_ERROR: Final = re.compile(
    rb'^(?:event: ?error|data: ?\{\s*"error"\s*:\s*[{"])', re.MULTILINE
)
_CONTENT_TYPE: Final = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(?:; ?[\w-]{1,32}=[\w.\"-]{1,64})?")


class PassThrough:
    """One answer that is passed on unchanged, an error of the server too."""

    __slots__ = (
        "_dropped_bytes",
        "_kept",
        "_kept_bytes",
        "_start",
        "_stream",
        "_tail_bytes_max",
        "failure",
        "head",
        "produced",
    )

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.failure: Failure | None = None
        self.produced = False
        self._stream = False
        self._tail_bytes_max = TAIL_BYTES_MAX
        self._dropped_bytes = 0
        self._start = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take status and type; both go to the caller, and Retry-After with them."""
        content_type = headers.get("content-type", "application/json")
        head = _head_of(status, content_type, headers.get("retry-after"))
        if isinstance(head, Failure):
            self.failure = head
            return
        self.head = head
        if head.content_type.startswith("text/event-stream"):
            self._stream = True
            self._tail_bytes_max = STREAM_TAIL_BYTES_MAX

    def on_data(self, data: bytes) -> bytes:
        """Return the bytes as they came."""
        kept = self._kept
        kept.append(data)
        kept_bytes = self._kept_bytes = self._kept_bytes + len(data)
        if kept_bytes > 2 * self._tail_bytes_max or len(kept) > PIECES_KEPT_MAX:
            self._trim()
        return data if self.produced else self._first(data)

    def on_end(self, *, complete: bool) -> Ending:
        """Return the usage that the answer told, and whether it came to its end."""
        if self.failure is not None:
            return Ending(b"", None, failure=self.failure)
        if len(self._kept) != 1 or self._kept_bytes > self._tail_bytes_max:
            self._trim()
        tail = self._kept[0]
        usage: Usage | None = None
        if self.head is not None and self.head.status >= 400:
            self.failure = None if complete else CUT
        elif self._stream:
            whole = tail.rstrip().endswith(b"[DONE]") or (complete and _has_ending(tail))
            self.failure = None if whole else UNFINISHED if complete else CUT
            usage = find_usage(tail) or find_usage(self._start)
        else:
            whole, usage = self._read_answer(tail)
            self.failure = CUT if not complete else None if whole else GARBAGE
        finish = _FINISH.findall(tail)
        return Ending(b"", usage, finish[-1].decode() if finish else "", self.failure)

    def _first(self, data: bytes) -> bytes:
        """Return the bytes before a first token was seen; those of an error are bounded."""
        head = self.head
        if head is None:
            return b""
        if not self._start:
            self._start = data[:START_BYTES_MAX]
        if head.status >= 400:
            before = self._dropped_bytes + self._kept_bytes - len(data)
            return data[: max(ERROR_BYTES_MAX - before, 0)]
        self.produced = not self._stream or _FIRST_TOKEN.search(data) is not None
        return data

    def _trim(self) -> None:
        """Keep only the end."""
        tail = b"".join(self._kept)[-self._tail_bytes_max :]
        self._kept = [tail]
        self._dropped_bytes += self._kept_bytes - len(tail)
        self._kept_bytes = len(tail)

    def _read_answer(self, tail: bytes) -> tuple[bool, Usage | None]:
        """Tell whether a JSON answer is whole, and its usage; of a large one, by both its ends."""
        if not self._dropped_bytes:
            try:
                if not tail.isascii():
                    tail.decode()  # texts are skipped by the decoder, not looked into
                usage = _decode_answer(tail).usage
            except msgspec.ValidationError:
                return _is_object(tail), find_usage(tail)
            except _JSON_ERRORS:
                return False, find_usage(tail)
            return True, usage.usage() if usage is not None else find_usage(tail)
        whole = self._start.lstrip().startswith(b"{") and tail.rstrip().endswith(b"}")
        return whole, find_usage(tail) or find_usage(self._start)


class _Answer(msgspec.Struct):
    usage: UsageBody | None = None


_decode_answer: Final = msgspec.json.Decoder(_Answer).decode


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except _JSON_ERRORS:
        return False


@lru_cache(maxsize=64)
def _head_of(status: int, told: str, retry_after: str | None) -> ResponseHead | Failure:
    """Return what the caller is told; kept, because a server's answers begin alike."""
    if not 200 <= status <= 599 or status in (204, 205, 304):
        return GARBAGE
    if 300 <= status < 400:
        # Followed, a redirect would take the caller's words to a place nobody configured.
        return Failure(
            ErrorCode.UPSTREAM_CONNECTION_ERROR, "the model's server answered with a redirect"
        )
    told = told.strip()
    return ResponseHead(
        status=status,
        content_type=told if _CONTENT_TYPE.fullmatch(told) else "application/octet-stream",
        retry_after_s=_retry_after_s(retry_after),
    )


def _has_ending(tail: bytes) -> bool:
    """Tell whether a stream without an end mark ended on purpose: by a finish or an error."""
    return _FINISH.search(tail) is not None or _STREAM_ERROR.search(tail) is not None


def _retry_after_s(told: str | None) -> int | None:
    """Return whole seconds; a date, which needs a clock, is left out."""
    if told is None or not told.strip().isdecimal() or len(told) > 16:
        return None
    return min(int(told), RETRY_AFTER_S_MAX)
