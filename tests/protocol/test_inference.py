"""Requests and answers as values."""

import msgspec
import pytest

from helexa.protocol.inference import (
    ChatMessage,
    ChatRequest,
    Continued,
    EmbeddingRequest,
    EmbeddingResponse,
    OpenHead,
    Reset,
    ResponseHead,
    Trailer,
    Usage,
)
from helexa.protocol.workload import Operation

VALUES = [
    OpenHead(request_id="r", model="m", operation=Operation.CHAT, stream=True),
    OpenHead(
        request_id="r", model="m", operation=Operation.CHAT, stream=True,
        continues=Continued(id="chatcmpl-1", created=7, completion_tokens=3, overlap=" "),
    ),
    ResponseHead(status=429, retry_after_s=2),
    Trailer(usage=Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1), duration_ms=1.5),
    Reset(code="engine_crash", message="it died", retry_elsewhere=True, engine="m#2"),
    ChatRequest(model="m", messages=(ChatMessage(role="user", content="hi"),), max_tokens=1),
    EmbeddingRequest(model="m", input=["a", "b"], encoding_format="base64"),
    EmbeddingResponse(vectors=((0.5, 1.0),)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_round_trips(value: msgspec.Struct) -> None:
    """R0.18, R1.11, R1.13: execute_request and the embedding DTOs travel as JSON."""
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_max_completion_tokens_beats_max_tokens() -> None:
    request = ChatRequest(model="m", messages=(), max_tokens=149, max_completion_tokens=3)
    assert request.tokens_max == 3
    assert ChatRequest(model="m", messages=(), max_tokens=9).tokens_max == 9


def test_counts_that_are_zero_are_left_out() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    assert msgspec.json.encode(usage) == b'{"prompt_tokens":3,"completion_tokens":2}'


def test_the_usage_of_a_stream_in_two_parts_is_that_of_one() -> None:
    """What was said first is prompt to the second engine, and completion to the caller."""
    part = Continued(id="x", created=0, completion_tokens=30)
    second = Usage(prompt_tokens=130, completion_tokens=70, cached_tokens=110)
    assert part.whole(second) == Usage(prompt_tokens=100, completion_tokens=100, cached_tokens=100)
    odd = part.whole(Usage(prompt_tokens=10, completion_tokens=1))
    assert odd == Usage(prompt_tokens=0, completion_tokens=31)
