"""Recalling a head gives what reading it would, or nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.gateway.edge.head import CHUNKED, Head, HeadReader
from helexa.cortex.gateway.edge.limits import Limits
from helexa.cortex.gateway.edge.memo import MISSES_MAX, HeadMemo

HEAD = b"POST /p?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nA: b\r\n\r\n"
GET = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"


def read(raw: bytes) -> Head:
    head = HeadReader(Limits()).read(raw)
    assert isinstance(head, Head)
    return head


def taught(raw: bytes) -> HeadMemo:
    memo = HeadMemo()
    assert memo.recall(raw) is None
    memo.remember(raw, read(raw))
    return memo


def test_a_head_that_differs_in_its_length_only_is_recalled() -> None:
    memo = taught(HEAD % b"5")
    for number in (b"1234", b"1234", b"7", b"5"):
        assert memo.recall(HEAD % number) == read(HEAD % number)


def test_a_head_without_a_length_is_recalled_when_it_is_the_same() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for raw, length in ((GET, 0), (chunked, CHUNKED)):
        memo = taught(raw)
        head = memo.recall(raw)
        assert head is not None
        assert head.length == length
        assert memo.recall(raw.replace(b"Host: a", b"Host: b")) is None


def test_a_length_that_is_no_number_is_not_recalled() -> None:
    for number in (b"", b"+5", b"-5", b"0x5", b"5 5", b"5\r\nX: 5", b" ", b"5,5", b"9" * 20):
        assert taught(HEAD % b"5").recall(HEAD % number) is None


def test_anything_else_that_differs_is_not_recalled() -> None:
    head = HEAD % b"5"
    for at in range(len(head)):
        if head[at : at + 1] == b"5":
            continue
        memo = taught(head)
        assert memo.recall(head[:at] + b"~" + head[at + 1 :]) is None
        assert memo.recall(head[:at] + head[at + 1 :]) is None


def test_heads_that_always_differ_are_not_compared_for_ever() -> None:
    memo = taught(GET)
    for number in range(MISSES_MAX):
        raw = GET.replace(b"/ ", b"/%d " % number)
        assert memo.recall(raw) is None
        memo.remember(raw, read(raw))
    assert memo.recall(raw) is None


def test_what_was_judged_of_a_head_is_never_brought_back_for_another() -> None:
    memo = taught(HEAD % b"5")
    memo.judged = "judged"
    for number in (b"5", b"1234"):
        assert memo.recall(HEAD % number)
        assert memo.judged == "judged"
    assert memo.recall(GET) is None
    assert memo.judged is None


def test_nothing_that_was_judged_is_brought_back_once_heads_are_not_compared_any_more() -> None:
    memo = taught(GET)
    for number in range(MISSES_MAX + 2):
        raw = GET.replace(b"/ ", b"/%d " % number)
        assert memo.recall(raw) is None
        assert memo.judged is None
        memo.remember(raw, read(raw))
        memo.judged = "judged"


HEADS = st.sampled_from([HEAD % b"5", HEAD % b"0", HEAD % b"77", HEAD % b"05", GET])


@settings(max_examples=300, deadline=None)
@given(HEADS, HEADS, st.integers(0, 100), st.binary(max_size=3), st.integers(0, 3))
def test_a_recalled_head_is_always_what_reading_it_would_give(
    first: bytes, second: bytes, place: int, new: bytes, gone: int
) -> None:
    memo = taught(first)
    at = place % len(second)
    changed = second[:at] + new + second[at + gone :]
    recalled = memo.recall(changed)
    if recalled is not None:
        assert recalled == read(changed)
