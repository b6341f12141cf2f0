"""Events come out whole, however the bytes were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.sse import (
    EventSplitter,
    EventTooLargeError,
    comment_of,
    data_of,
    event_of,
)

STREAM = 'data: {"a":"é😀"}\n\n: note\n\nevent: x\ndata: 1\ndata: 2\n\ndata: [DONE]\n\n'.encode()


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12), crlf=st.booleans())
def test_any_split_gives_the_same_events(cuts: list[int], crlf: bool) -> None:
    stream = STREAM.replace(b"\n", b"\r\n") if crlf else STREAM
    edges = [0, *sorted(cuts), len(stream)]
    splitter = EventSplitter()
    events = [
        event
        for start, end in zip(edges, edges[1:], strict=False)
        for event in splitter.feed(stream[start:end])
    ] + splitter.feed(stream[edges[-1] :])
    assert b"".join(events) == STREAM
    assert splitter.rest == b""
    assert [data_of(event) for event in events] == [
        '{"a":"é😀"}'.encode(),
        None,
        b"1\n2",
        b"[DONE]",
    ]


def test_an_event_that_never_ends_is_refused_at_the_bound() -> None:
    splitter = EventSplitter(held_bytes_max=100)
    splitter.feed(b"x" * 100)
    with pytest.raises(EventTooLargeError):
        splitter.feed(b"x")


def test_events_and_comments_are_written_as_they_are_read() -> None:
    assert data_of(event_of(b'{"a":1}')) == b'{"a":1}'
    assert data_of(b"data:x\n\n") == b"x"
    assert data_of(comment_of("prefill 1/2")) is None
