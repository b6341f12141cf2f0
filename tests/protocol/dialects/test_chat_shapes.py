"""A chat's stream is read however it was split, and what is no chat is said to be none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects.chat_shapes import ChatReader, Chunk

STREAM = (
    b": prefill 5/10\n\n"
    b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"\xc3\xa9"}}]}\n\n'
    b"event: odd\n\n"
    b'data: {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
    b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=20))
def test_a_stream_says_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    reader = ChatReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    found = [one for piece in pieces for one in reader.read(piece)]
    comments = [one for one in found if isinstance(one, bytes)]
    chunks = [one for one in found if isinstance(one, Chunk)]
    assert comments == [b": prefill 5/10\n\n"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    assert chunks[0].choices[0].delta is not None
    assert chunks[0].choices[0].delta.content == "é"
    assert not reader.problem


def test_the_last_event_counts_without_its_blank_line() -> None:
    reader = ChatReader()
    assert list(reader.read(b'data: {"id":"z"}')) == []
    assert [one.id for one in reader.rest(b"") if isinstance(one, Chunk)] == ["z"]


@pytest.mark.parametrize(
    "data",
    [
        b"data: {half\n\n",
        b'data: {"choices":"none"}\n\n',
        b'data: {"error":{"message":"out of memory at /secret"}}\n\n',
        b"data: \xff\n\n",
        b"data: " + b"x" * (5 << 20),
    ],
    ids=["half", "shape", "error", "utf8", "large"],
)
def test_what_is_no_chat_ends_the_reading_and_is_not_told_on(data: bytes) -> None:
    reader = ChatReader()
    good = b'data: {"id":"a"}\n\n'
    assert [one.id for one in reader.read(good + data) if isinstance(one, Chunk)] in (["a"], [])
    assert reader.problem
    assert "secret" not in reader.problem
