"""Recalling a head gives what reading it would, or nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.gateway.edge.head import CHUNKED, HeadReader
from helexa.cortex.gateway.edge.limits import Limits
from helexa.cortex.gateway.edge.memo import MISSES_MAX, HeadMemo

HEAD = b"POST /p?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nA: b\r\n\r\n"
GET = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"


def found(reader: HeadReader) -> tuple[object, ...]:
    names = ("method", "path", "query", "fields", "minor", "keep_alive", "length", "expect")
    return tuple(getattr(reader, name) for name in names)


def taught(head: bytes) -> tuple[HeadMemo, HeadReader]:
    memo, reader = HeadMemo(), HeadReader(Limits())
    assert not memo.recall(head, reader)
    assert reader.read(head) is None
    memo.remember(head, reader)
    return memo, reader


def test_a_head_that_differs_in_its_length_only_is_recalled() -> None:
    memo, reader = taught(HEAD % b"5")
    assert memo.recall(HEAD % b"1234", reader)
    assert reader.length == 1234
    assert reader.fields[b"content-length"] == b"1234"
    fresh = HeadReader(Limits())
    assert fresh.read(HEAD % b"1234") is None
    assert found(reader) == found(fresh)


def test_a_head_without_a_length_is_recalled_when_it_is_the_same() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for head, length in ((GET, 0), (chunked, CHUNKED)):
        memo, reader = taught(head)
        reader.forget()
        assert memo.recall(head, reader)
        assert reader.length == length
        assert not memo.recall(head.replace(b"Host: a", b"Host: b"), reader)


def test_a_length_that_is_no_number_is_not_recalled() -> None:
    for number in (b"", b"+5", b"-5", b"0x5", b"5 5", b"5\r\nX: 5", b" ", b"5,5", b"9" * 20):
        memo, reader = taught(HEAD % b"5")
        assert not memo.recall(HEAD % number, reader)


def test_anything_else_that_differs_is_not_recalled() -> None:
    head = HEAD % b"5"
    for at in range(len(head)):
        if head[at : at + 1] == b"5":
            continue
        memo, reader = taught(head)
        assert not memo.recall(head[:at] + b"~" + head[at + 1 :], reader)
        assert not memo.recall(head[:at] + head[at + 1 :], reader)


def test_headers_of_one_request_are_not_those_of_the_next() -> None:
    memo, reader = taught(HEAD % b"5")
    reader.fields[b"a"] = b"changed by a handler"
    for _ in range(2):
        assert memo.recall(HEAD % b"6", reader)
        assert reader.fields[b"a"] == b"b"
        reader.fields[b"a"] = b"changed by a handler"


def test_heads_that_always_differ_are_not_compared_for_ever() -> None:
    memo, reader = taught(GET)
    for number in range(MISSES_MAX):
        head = GET.replace(b"/ ", b"/%d " % number)
        assert not memo.recall(head, reader)
        assert reader.read(head) is None
        memo.remember(head, reader)
    assert not memo.recall(head, reader)


def test_what_was_judged_of_a_head_is_never_brought_back_for_another() -> None:
    memo, reader = taught(HEAD % b"5")
    memo.judged = "judged"
    assert memo.recall(HEAD % b"1234", reader)
    assert memo.judged == "judged"
    assert not memo.recall(GET, reader)
    assert memo.judged is None


def test_nothing_that_was_judged_is_brought_back_once_heads_are_not_compared_any_more() -> None:
    memo, reader = taught(GET)
    for number in range(MISSES_MAX + 2):
        head = GET.replace(b"/ ", b"/%d " % number)
        assert not memo.recall(head, reader)
        assert memo.judged is None
        assert reader.read(head) is None
        memo.remember(head, reader)
        memo.judged = "judged"


HEADS = st.sampled_from([HEAD % b"5", HEAD % b"0", HEAD % b"77", HEAD % b"05", GET])


@settings(max_examples=300, deadline=None)
@given(HEADS, HEADS, st.integers(0, 100), st.binary(max_size=3), st.integers(0, 3))
def test_a_recalled_head_is_always_what_reading_it_would_give(
    first: bytes, second: bytes, place: int, new: bytes, gone: int
) -> None:
    memo, reader = taught(first)
    at = place % len(second)
    changed = second[:at] + new + second[at + gone :]
    if memo.recall(changed, reader):
        fresh = HeadReader(Limits())
        assert fresh.read(changed) is None
        assert found(reader) == found(fresh)
