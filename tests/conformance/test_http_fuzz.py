"""Any bytes, split anywhere: the same requests and answers, one answer each, and no crash."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.http_fuzz import agrees_with_h11, outcome

FRAGMENTS = [
    b"GET / HTTP/1.1\r\n", b"POST /p?stream HTTP/1.1\r\n", b"HEAD /a HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"Host: a\r\n", b"Host: b:80\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length: 300\r\n",
    b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: Chunked\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"A: b\r\n", b"a: c \t\r\n", b"\r\n", b"\n",
    b"\r", b" ", b"hello", b"5\r\nhello\r\n", b"5;x=y\r\nhello\r\n", b"0\r\n\r\n",
    b"0\r\nT: v\r\n\r\n",
    b"fff\r\n", b"\x00", b"\xff", b":", b"1", b"A: " + b"b" * 100 + b"\r\n", b"/" + b"a" * 70,
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
]  # fmt: skip
WHOLE = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /p?stream HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
]
streams = st.lists(
    st.one_of(st.sampled_from(WHOLE), st.sampled_from(FRAGMENTS), st.binary(max_size=6)),
    max_size=14,
).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@settings(max_examples=300, deadline=None)
@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_of_any_bytes_gives_the_same_requests_and_answers(
    data: bytes, places: list[int]
) -> None:
    whole = outcome([data] if data else [])
    assert outcome(cut(data, places)) == whole
    assert outcome([data[at : at + 1] for at in range(len(data))]) == whole


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4).map(b"".join),
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([*FRAGMENTS, b""])), max_size=4),
)
def test_no_mutation_of_good_requests_gets_more_answers_than_requests_or_is_read_otherwise(
    data: bytes, mutations: list[tuple[int, bytes]]
) -> None:
    for place, new in mutations:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + (place // 7) % 3 :]
    agrees_with_h11(data, outcome([data]))


@settings(max_examples=300, deadline=None)
@given(streams)
def test_what_is_taken_for_a_request_is_the_same_request_to_h11(data: bytes) -> None:
    agrees_with_h11(data, outcome([data] if data else []))
