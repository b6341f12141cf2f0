"""Every dialect can say what the gateway has to say by itself, and no error is a good end."""

import json

import pytest

from helexa.protocol.dialects.dialect import (
    ANTHROPIC,
    DIALECT_OF,
    DIALECTS,
    OPENAI,
    RESPONSES,
    Dialect,
    in_dialect,
)
from helexa.protocol.errors import CODES, ErrorCode, Refusal
from helexa.protocol.inference import OpenHead
from helexa.protocol.workload import WORKLOAD_OF_OPERATION, Operation

ALL = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@ALL
@pytest.mark.parametrize("code", ErrorCode)
def test_every_refusal_has_a_status_and_a_message_in_one_line(
    dialect: Dialect, code: ErrorCode
) -> None:
    refusal = Refusal(code, "it died\nbadly")
    assert 400 <= dialect.status_of(refusal) < 600
    body = dialect.envelope(refusal, "req-1")
    assert b"\n" not in body
    told = json.loads(body)
    assert told["error"]["message"].endswith("it died\nbadly")
    assert told["error"]["code"] == code.value
    assert "req-1" in (told.get("request_id"), told["error"].get("request_id"))


@ALL
def test_an_error_event_is_one_event_and_no_end(dialect: Dialect) -> None:
    body = dialect.envelope(Refusal(ErrorCode.ENGINE_CRASH, "it died\nbadly"), "req-1")
    event = dialect.error_event(body)
    assert event.endswith(b"\n\n")
    assert event.count(b"\n\n") == 1
    told = json.loads(event.partition(b"data: ")[2])
    assert told | json.loads(body) == told
    assert dialect.done not in event


@ALL
def test_a_sign_of_life_is_nothing_or_a_whole_event(dialect: Dialect) -> None:
    assert not dialect.alive or dialect.alive.endswith(b"\n\n")
    assert dialect.done.endswith(b"\n\n")


def test_openai_is_what_it_was() -> None:
    for code, rule in CODES.items():
        assert OPENAI.status_of(Refusal(code, "")) == rule.status
    assert OPENAI.answer_lines("r") == b""
    assert OPENAI.interpreter is None


def test_every_operation_is_in_one_dialect_and_is_some_work() -> None:
    assert set(DIALECT_OF) == set(Operation) == set(WORKLOAD_OF_OPERATION)
    spoken = {one for one, dialect in DIALECT_OF.items() if dialect is ANTHROPIC}
    assert spoken == {Operation.MESSAGES, Operation.COUNT_TOKENS}
    assert DIALECT_OF[Operation.RESPONSES] is RESPONSES


def test_a_neuron_is_asked_for_a_chat_and_told_its_dialect() -> None:
    head = OpenHead(request_id="r", model="m", operation=Operation.MESSAGES, stream=True)
    told = in_dialect(head, ANTHROPIC)
    assert (told.operation, told.dialect, told.stream) == (Operation.CHAT, "anthropic", True)
    other = OpenHead(request_id="r", model="m", operation=Operation.RESPONSES)
    assert in_dialect(other, RESPONSES).operation is Operation.CHAT
    counts = OpenHead(request_id="r", model="m", operation=Operation.COUNT_TOKENS)
    assert in_dialect(counts, ANTHROPIC).operation is Operation.COUNT_TOKENS
