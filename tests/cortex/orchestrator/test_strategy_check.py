"""The conformance test of plug-ins finds what breaks the rules."""

from collections.abc import Callable

import pytest

from helexa.cortex.orchestrator.requests import (
    Candidate,
    Choice,
    RoutingRequest,
    Share,
    candidate_of,
)
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.cortex.orchestrator.strategies import RoutingPolicy
from helexa.cortex.orchestrator.strategy_check import problems_of

Pick = Callable[[list[Candidate], int], object]


class Made:
    """A strategy that is whatever the test makes of it."""

    needs_affinity = False

    def __init__(self, pick: Pick, shares: tuple[Share, ...] = ()) -> None:
        self._pick, self._shares = pick, shares
        self._asked = 0

    def pick(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> Choice:
        self._asked += 1
        return self._pick(candidates, self._asked)  # type: ignore[return-value]

    def shares(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> tuple[Share, ...]:
        return self._shares

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        pass


def stranger(candidates: list[Candidate], _asked: int) -> Choice:
    made = candidate_of(candidates[0].replica, 99)
    return Choice(made, "x")


def raises(_candidates: list[Candidate], _asked: int) -> Choice:
    raise KeyError("n1")


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        (lambda c, _: c[0], "not a Choice"),
        (stranger, "not among the candidates"),
        (lambda c, _: Choice(c[0], ""), "not a short word"),
        (lambda c, _: Choice(c[0], "x" * 99), "not a short word"),
        (lambda c, asked: Choice(c[asked % len(c)], "x"), "two answers"),
        (lambda c, _: Choice(c[0], "x"), "nearly all requests"),
        (raises, "raised KeyError"),
    ],
)
def test_what_breaks_the_rules_is_told(pick: Pick, expected: str) -> None:
    problems = problems_of(lambda _policy: Made(pick))
    assert problems
    assert expected in problems[0]


def test_shares_must_be_of_all_candidates() -> None:
    def least(candidates: list[Candidate], _asked: int) -> Choice:
        return Choice(min(candidates, key=lambda c: c.in_flight), "x")

    short = (Share("x", 1.0, (0.0,)),)
    assert problems_of(lambda _policy: Made(least)) == []
    assert "1 values" in problems_of(lambda _policy: Made(least, short))[0]


def test_a_factory_that_fails_is_told() -> None:
    def broken(_policy: RoutingPolicy) -> Made:
        raise ImportError("no such library")

    assert "no such library" in problems_of(broken)[0]
