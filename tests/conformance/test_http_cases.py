"""The edge under every case of `http_cases`: in memory at every split, and over a real socket."""

import pytest

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.listening import open_sockets
from helexa.cortex.gateway.edge.server import EdgeServer
from tests.conformance.http_cases import Case, cases
from tests.conformance.http_wire import parse_answers, play
from tests.fakes.edge_transport import EdgeBench

CASES = cases()
SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def by_name(case: Case) -> str:
    return case.name


def check(case: Case, statuses: list[int], forwarded: int) -> None:
    assert len(statuses) == len(case.statuses), statuses
    for status, allowed in zip(statuses, case.statuses, strict=True):
        assert status in allowed, statuses
    assert forwarded == case.forwarded


def splits(case: Case) -> list[tuple[bytes, ...]]:
    """The pieces as given, all in one, one byte at a time, and cut at a few odd places."""
    whole = b"".join(case.pieces)
    found = [case.pieces, (whole,)]
    steps = (1, 2, 7, 64) if len(whole) < 4096 else (1009, 4096)
    for step in steps:
        found.append(tuple(whole[at : at + step] for at in range(0, len(whole), step)))
    return found


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_case_has_the_same_answers_however_its_bytes_arrive(case: Case) -> None:
    for pieces in splits(case):
        bench = EdgeBench()
        bench.send(*pieces)
        answers = parse_answers(bench.sent, head_only=case.head_only)
        check(case, [a.status for a in answers if a.status != 100], len(bench.seen))
        assert all(answer.whole for answer in answers)
        assert bench.closed == case.closes
        assert not bench.faults


@pytest.mark.parametrize("case", CASES, ids=by_name)
async def test_a_case_over_a_socket_has_one_answer_for_each_request(case: Case) -> None:
    seen: list[str] = []

    def handler(exchange: Exchange) -> None:
        if exchange.path != "/sentinel":
            seen.append(exchange.path)
        exchange.respond(200, b"", exchange.body)

    server = EdgeServer(handler)
    await server.start(open_sockets("127.0.0.1", 0))
    try:
        host, _, port = server.addresses[0].rpartition(":")
        answers = await play(host, int(port), case, SENTINEL)
    finally:
        await server.close()
    check(case, [answer.status for answer in answers], len(seen))


def test_there_are_at_least_two_hundred_hostile_cases() -> None:
    """Each has a 4xx and reaches no handler for what it refuses."""
    hostile = [case for case in CASES if case.forwarded == 0]
    assert len(hostile) >= 200
    assert all(max(allowed) < 500 for case in CASES for allowed in case.statuses)
