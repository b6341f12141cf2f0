"""How a request ended, in words that logs, metrics and bills share. Pure."""

from enum import StrEnum
from typing import Final

import msgspec

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Trailer
from helexa.protocol.workload import Operation


class Outcome(StrEnum):
    """The closed set of endings."""

    __hash__ = str.__hash__  # the inherited one is Python code, 0.3 µs a look-up

    OK = "ok"
    CLIENT_ERROR = "client_error"
    REJECTED = "rejected"
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


BECAUSE_CHARS_MAX: Final = 300
"""A reason can quote a caller's text; its beginning says what was wrong."""

_REJECTED: Final = frozenset(
    {
        ErrorCode.RATE_LIMIT_EXCEEDED,
        ErrorCode.SERVICE_UNAVAILABLE,
        ErrorCode.MODEL_LOADING,
        ErrorCode.SHUTTING_DOWN,
    }
)


def outcome_of(refusal: Refusal) -> Outcome:
    """Return how a request counts that ended in a refusal."""
    if refusal.code in _REJECTED:
        return Outcome.REJECTED
    if refusal.code in {ErrorCode.UPSTREAM_TIMEOUT, ErrorCode.REQUEST_TIMEOUT}:
        return Outcome.TIMEOUT
    return Outcome.CLIENT_ERROR if refusal.status < 500 else Outcome.UPSTREAM_ERROR


def outcome_of_status(status: int) -> Outcome:
    """Return how a request counts whose answer, with this status, came from a neuron."""
    if status < 400:
        return Outcome.OK
    if status in {429, 503}:
        return Outcome.REJECTED
    return Outcome.CLIENT_ERROR if status < 500 else Outcome.UPSTREAM_ERROR


class Record(msgspec.Struct, frozen=True, gc=False):
    """One request, at its end."""

    request_id: str
    operation: Operation
    key_id: str
    model: str
    neuron: str
    stream: bool
    status: int
    outcome: Outcome
    code: str
    """The error code, "" where there was none."""
    duration_ms: float
    first_byte_ms: float | None
    bytes_out: int
    trailer: Trailer | None
    attempts: int
    because: str = ""
    """What the caller was told beside the code, "" where nothing was wrong."""
    resumes: int = 0
    """How many times another neuron went on with the stream."""
    beside_first: int = 0
    """How many requests its replica had with it when it was sent there."""
    beside_last: int = 0
    """And how many when it ended."""


def phase_of(record: Record) -> str:
    """Return how far a request had come: queue (no replica yet), prefill or decode."""
    if not record.neuron:
        return "queue"
    return "prefill" if record.first_byte_ms is None else "decode"


def time_per_output_token_s(trailer: Trailer) -> float | None:
    """Return the mean time from one token to the next, by the neuron's clock; None if unknown."""
    usage = trailer.usage
    if usage is None or usage.completion_tokens < 2:
        return None
    if trailer.first_token_ms is None:
        return None
    spent_ms = trailer.duration_ms - trailer.first_token_ms
    return max(spent_ms, 0.0) / 1e3 / (usage.completion_tokens - 1)


def access_fields(record: Record) -> dict[str, object]:
    """Return the fields of the access log line; what is unknown is left out."""
    fields: dict[str, object] = {
        "request_id": record.request_id,
        "operation": record.operation.value,
        "key_id": record.key_id,
        "model": record.model,
        "neuron": record.neuron,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome.value,
        "duration_ms": round(record.duration_ms, 2),
        "bytes_out": record.bytes_out,
    }
    if record.code:
        fields["code"] = record.code
    if record.because:
        fields["because"] = record.because[:BECAUSE_CHARS_MAX]
    if record.first_byte_ms is not None:
        fields["first_byte_ms"] = round(record.first_byte_ms, 2)
    if record.attempts > 1:
        fields["attempts"] = record.attempts
    if record.resumes:
        fields["resumed"] = record.resumes
    trailer = record.trailer
    if trailer is not None:
        if trailer.finish_reason:
            fields["finish_reason"] = trailer.finish_reason
        if trailer.usage is not None:
            fields["prompt_tokens"] = trailer.usage.prompt_tokens
            fields["completion_tokens"] = trailer.usage.completion_tokens
            if trailer.usage.cached_tokens:
                fields["cached_tokens"] = trailer.usage.cached_tokens
    return fields


class LineBudget:
    """Lets so many log lines a second through, and counts what it held back.

    A busy gateway would else spend more on its log than on its requests (13 µs a line). Errors
    are never held back: the caller does not ask for them.
    """

    __slots__ = ("_left", "_per_second", "_second", "_suppressed")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = -1
        self._left = per_second
        self._suppressed = 0

    def allows(self, now_s: float) -> bool:
        """Tell whether a line may be written now."""
        second = int(now_s)
        if second != self._second:
            self._second, self._left = second, self._per_second
        if self._left:
            self._left -= 1
            return True
        self._suppressed += 1
        return False

    def take_suppressed(self) -> int:
        """Return how many lines were held back since the last call."""
        count, self._suppressed = self._suppressed, 0
        return count
