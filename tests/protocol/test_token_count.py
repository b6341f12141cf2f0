"""The comment that tells a stream's tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.inference import Usage
from helexa.protocol.sse import data_of
from helexa.protocol.token_count import TOKENS_MAX, count_comment, count_told

tokens = st.integers(0, TOKENS_MAX)


@given(tokens, tokens, tokens)
def test_what_is_told_is_read_and_no_caller_takes_it_for_data(
    prompt: int, completion: int, cached: int
) -> None:
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    comment = count_comment(usage)
    assert count_told(comment) == count_told(comment.removesuffix(b"\n\n")) == usage
    assert data_of(comment) is None
    assert comment.endswith(b"\n\n")
    assert comment.count(b"\n") == 2


def test_a_count_reads_as_a_line_of_words() -> None:
    usage = Usage(prompt_tokens=50, completion_tokens=18, cached_tokens=7)
    assert count_comment(usage) == b": tokens 50 18 7\n\n"


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b": keep-alive",
        b": prefill 1/2",
        b": tokens ",
        b": tokens 1 2",
        b": tokens 1 2 3 4",
        b": tokens 1 -2 3",
        b": tokens 1 \xd9\xa3 3",
        b": tokens 1 2 99999999999999999999",
        b"data: : tokens 1 2 3",
    ],
)
def test_any_other_event_tells_nothing(event: bytes) -> None:
    assert count_told(event) is None
