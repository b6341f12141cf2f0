"""How good each eligible replica is for a request: lower is better, 0 is ideal. Pure.

A scorer is one function with its formula in its docstring; `SCORERS` pairs it with a weight. It
scores all candidates at once, in their order: one call for the lot keeps routing cheap.
"""

import zlib
from collections.abc import Callable
from operator import add
from typing import Final

from helexa.cortex.orchestrator.requests import Candidate

Scorer = Callable[[list[Candidate]], list[float]]


def expected_load(candidates: list[Candidate]) -> list[float]:
    """Return in_flight / seats: how full a replica is with what this gateway has sent it."""
    return [c.in_flight / c.seats for c in candidates]


def foreign_load(candidates: list[Candidate]) -> list[float]:
    """Return max(0, reported − in_flight) / seats: work that others have sent to a replica.

    The report is up to a heartbeat old, and counts our own requests that have ended since; so it
    weighs less than what is known exactly.
    """
    pairs = [(c.replica.active_requests - c.in_flight, c.seats) for c in candidates]
    return [extra / seats if extra > 0 else 0.0 for extra, seats in pairs]


SCORERS: Final[tuple[tuple[str, Scorer, float], ...]] = (
    ("expected_load", expected_load, 1.0),
    ("foreign_load", foreign_load, 0.25),
)


def scores_of(candidates: list[Candidate]) -> list[float]:
    """Return each candidate's weighted sum of all scorers."""
    totals: list[float] = []
    for _name, scorer, weight in SCORERS:
        shares = [weight * share for share in scorer(candidates)]
        totals = list(map(add, totals, shares)) if totals else shares
    return totals


def best_of(candidates: list[Candidate], request_id: str) -> Candidate:
    """Return the candidate of lowest score; among equals a hash of the request id decides."""
    totals = scores_of(candidates)
    lowest = min(totals)
    best = [c for c, total in zip(candidates, totals, strict=True) if total == lowest]
    if len(best) == 1:
        return best[0]
    return best[zlib.crc32(request_id.encode()) % len(best)]
