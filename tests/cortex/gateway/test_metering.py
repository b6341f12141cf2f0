"""How a request ended, and how much of it is logged."""

import msgspec
import pytest

from helexa.cortex.gateway.metering import (
    BECAUSE_CHARS_MAX,
    LineBudget,
    Outcome,
    Record,
    access_fields,
    outcome_of,
    outcome_of_status,
)
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Trailer, Usage
from helexa.protocol.workload import Operation

RECORD = Record(
    "req-1", Operation.CHAT, "k1", "m", "n1", True, 200, Outcome.OK, "", 12.345, 1.234, 99,
    Trailer(usage=Usage(prompt_tokens=3, completion_tokens=2), finish_reason="stop"), 1,
)  # fmt: skip


@pytest.mark.parametrize("code", ErrorCode)
def test_every_refusal_has_an_outcome(code: ErrorCode) -> None:
    outcome = outcome_of(Refusal(code, "x"))
    assert outcome is not Outcome.OK
    if code in {ErrorCode.RATE_LIMIT_EXCEEDED, ErrorCode.SHUTTING_DOWN}:
        assert outcome is Outcome.REJECTED
    if code in {ErrorCode.ENGINE_CRASH, ErrorCode.INTERNAL_ERROR}:
        assert outcome is Outcome.UPSTREAM_ERROR


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (302, "ok"), (404, "client_error"), (429, "rejected"), (503, "rejected"),
     (500, "upstream_error")],
)  # fmt: skip
def test_an_engines_status_has_an_outcome(status: int, outcome: str) -> None:
    assert outcome_of_status(status) == outcome


def test_a_line_says_how_a_request_ended_and_leaves_out_what_is_unknown() -> None:
    """R1.41, R3.30: one structured line a request."""
    assert access_fields(RECORD) == {
        "request_id": "req-1", "operation": "chat", "key_id": "k1", "model": "m", "neuron": "n1",
        "stream": True, "status": 200, "outcome": "ok", "duration_ms": 12.35, "bytes_out": 99,
        "first_byte_ms": 1.23, "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2,
    }  # fmt: skip
    bare = access_fields(changed(RECORD, trailer=None, first_byte_ms=None, code="x"))
    assert "prompt_tokens" not in bare
    assert bare["code"] == "x"


def test_the_line_of_a_refusal_has_its_reason_and_no_novel() -> None:
    """Lesson 3."""
    told = access_fields(changed(RECORD, code="invalid_request_body", because="n: " + "9" * 5000))
    because = told["because"]
    assert isinstance(because, str)
    assert because.startswith("n: 9")
    assert len(because) == BECAUSE_CHARS_MAX


def changed(record: Record, **changes: object) -> Record:
    return msgspec.structs.replace(record, **changes)  # type: ignore[arg-type]


def test_lines_are_limited_each_second_and_the_rest_is_counted() -> None:
    """R1.41: floods are held back."""
    budget = LineBudget(2)
    assert [budget.allows(10.0 + n / 10) for n in range(5)] == [True, True, False, False, False]
    assert budget.allows(11.0)
    assert budget.take_suppressed() == 3
    assert budget.take_suppressed() == 0
