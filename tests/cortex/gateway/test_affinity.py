"""Sessions and beginnings of prompts, as clients write them."""

import json

import pytest

from helexa.cortex.gateway.affinity import (
    PROMPT_BYTES_MIN,
    SESSION_CHARS_MAX,
    SESSION_HEADERS,
    prefix_of,
    session_of,
)
from helexa.protocol.workload import Operation

SYSTEM = {"role": "system", "content": "You are a careful assistant. " * 60}


def chat(*texts: str, **fields: object) -> bytes:
    turns = [{"role": "user", "content": text} for text in texts]
    return json.dumps({"model": "m", "messages": [SYSTEM, *turns]} | fields).encode()


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_a_session_is_told_by_the_headers_that_clients_send(name: bytes) -> None:
    assert session_of({name: b"abc", b"host": b"x"}, told="user-7") == "abc"


def test_else_by_the_body_and_it_is_never_long() -> None:
    assert session_of({}, told="user-7") == "user-7"
    assert session_of({}) == ""
    assert len(session_of({b"x-session-id": b"x" * 9999})) == SESSION_CHARS_MAX
    assert session_of({b"x-session-id": b"\xff"}) == "\xff"


def test_the_next_turn_of_a_conversation_begins_as_the_one_before() -> None:
    first = prefix_of(Operation.CHAT, "m", chat("a" * 2000, temperature=1))
    second = prefix_of(Operation.CHAT, "m", chat("a" * 2000, "b" * 2000, temperature=0))
    assert len(first) >= 6
    assert second[: len(first)] == first
    assert len(second) > len(first)


def test_what_stands_before_the_messages_does_not_matter() -> None:
    body = chat("a" * 2000)
    moved = json.dumps({"temperature": 0.5, "seed": 7} | json.loads(body)).encode()
    assert prefix_of(Operation.CHAT, "m", moved) == prefix_of(Operation.CHAT, "m", body)


def test_another_conversation_shares_only_the_system_prompt() -> None:
    first = prefix_of(Operation.CHAT, "m", chat("a" * 2000))
    other = prefix_of(Operation.CHAT, "m", chat("z" * 2000))
    assert first[:7] == other[:7]
    assert not set(first[8:]) & set(other[8:])


def test_another_model_shares_nothing() -> None:
    body = chat("a" * 2000)
    assert not set(prefix_of(Operation.CHAT, "m", body)) & set(prefix_of(Operation.CHAT, "x", body))


def test_a_completions_prompt_counts_and_embeddings_do_not() -> None:
    body = json.dumps({"model": "m", "prompt": "a" * 4000, "input": "a"}).encode()
    assert len(prefix_of(Operation.COMPLETION, "m", body)) == 11
    assert prefix_of(Operation.EMBEDDINGS, "m", body) == ()


def test_small_bodies_and_bodies_without_a_prompt_cost_nothing() -> None:
    assert prefix_of(Operation.CHAT, "m", b'"messages"'.ljust(PROMPT_BYTES_MIN - 1)) == ()
    assert prefix_of(Operation.CHAT, None, b"x" * 5000) == ()
