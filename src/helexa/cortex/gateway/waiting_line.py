"""The line before one model: who stands in it, and in which order they go. Pure.

`admission` says what the order is and why; here is how it is kept. Anonymous callers share one
half of the line, holders of keys the other; in each half there is one ring of keys for interactive
work and one for bulk.
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from helexa.protocol.ids import ModelId

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks for a seat on which model, and what for."""

    model_id: ModelId
    key: str
    anonymous: bool = False
    bulk: bool = False
    again: bool = False
    """It had a seat before and lost it with its replica: it goes first, and has always room."""
    wait_s_max: float | None = None
    """Less than what others may wait; None is the same."""


@dataclass(frozen=True, slots=True)
class _Place:
    claim: Claim
    since_s: float
    until_s: float


class _Half(Generic[T]):
    """Anonymous callers, or those with a key."""

    __slots__ = ("places", "rings", "turn")

    def __init__(self) -> None:
        self.places: dict[T, _Place] = {}
        """In order of arrival."""
        self.rings: tuple[OrderedDict[str, dict[T, None]], ...] = (OrderedDict(), OrderedDict())
        """Interactive and bulk: the tickets of each key, the key served longest ago first."""
        self.turn = False
        """The next one may be one that waited too long, whatever its work and key."""

    def add(self, ticket: T, place: _Place) -> None:
        self.places[ticket] = place
        self.rings[place.claim.bulk].setdefault(place.claim.key, {})[ticket] = None

    def remove(self, ticket: T, *, served: bool) -> None:
        claim = self.places.pop(ticket).claim
        ring = self.rings[claim.bulk]
        tickets = ring[claim.key]
        del tickets[ticket]
        if not tickets:
            del ring[claim.key]
        elif served:
            ring.move_to_end(claim.key)
        if served:
            self.turn = not self.turn

    def next(
        self, at_work: Mapping[str, int], overdue_before_s: float, passed_over: Collection[T]
    ) -> T | None:
        if self.turn:
            for ticket, place in self.places.items():
                if place.since_s > overdue_before_s:
                    break
                if ticket not in passed_over:
                    return ticket
        for ring in self.rings:
            found = _fairest(ring, at_work, passed_over)
            if found is not None:
                return found
        return None


class Line(Generic[T]):
    """Everyone who waits for one model."""

    __slots__ = ("_again", "_anonymous", "_keyed")

    def __init__(self) -> None:
        self._again: dict[T, _Place] = {}
        self._keyed: _Half[T] = _Half()
        self._anonymous: _Half[T] = _Half()

    def __len__(self) -> int:
        return len(self._again) + self.ordinary

    @property
    def ordinary(self) -> int:
        """How many wait who had no seat before: those that the line's bound is for."""
        return len(self._keyed.places) + len(self._anonymous.places)

    def ahead(self, *, anonymous: bool) -> int:
        """Return how many a newcomer must not overtake."""
        return len(self) if anonymous else len(self) - len(self._anonymous.places)

    def count_of(self, key: str) -> int:
        """Return how many tickets of a key wait."""
        halves = (self._keyed, self._anonymous)
        return sum(len(ring.get(key, ())) for half in halves for ring in half.rings)

    def add(self, ticket: T, claim: Claim, now_s: float, until_s: float) -> None:
        """Let a ticket stand at the end of its part of the line, until `until_s` at the latest."""
        place = _Place(claim, now_s, until_s)
        if claim.again:
            self._again[ticket] = place
        else:
            self._half_of(claim).add(ticket, place)

    def remove(self, ticket: T, *, served: bool = False) -> None:
        """Take a ticket out; one that was `served` puts its key behind the others."""
        if self._again.pop(ticket, None) is None:
            half = self._keyed if ticket in self._keyed.places else self._anonymous
            half.remove(ticket, served=served)

    def next(
        self,
        at_work: Mapping[str, int],
        overdue_before_s: float,
        *,
        leftover: bool,
        passed_over: Collection[T],
    ) -> T | None:
        """Return who goes next; anonymous callers only into what is `leftover`."""
        for ticket in self._again:
            if ticket not in passed_over:
                return ticket
        found = self._keyed.next(at_work, overdue_before_s, passed_over)
        # A passing seat that no holder of a key can use may still be of use to the others.
        if found is not None or not leftover:
            return found
        return self._anonymous.next(at_work, overdue_before_s, passed_over)

    def takes_most(self, newcomer: Claim) -> T | None:
        """Return the ticket that has to make room for a newcomer; None: the newcomer itself.

        It is the newest of whoever takes most of the line, bulk work first: an anonymous caller's
        where a key asks, else a key's that would still have as many as the newcomer.
        """
        if not newcomer.anonymous and self._anonymous.places:
            return self._newest_of_largest(self._anonymous, least=1)
        half = self._half_of(newcomer)
        return self._newest_of_largest(half, least=self.count_of(newcomer.key) + 2)

    def expired(self, now_s: float) -> Iterator[tuple[T, float]]:
        """Yield those whose time is up, and how many seconds they waited."""
        for places in (self._again, self._keyed.places, self._anonymous.places):
            for ticket, place in places.items():
                if now_s >= place.until_s:
                    yield ticket, place.until_s - place.since_s

    def _half_of(self, claim: Claim) -> _Half[T]:
        return self._anonymous if claim.anonymous else self._keyed

    def _newest_of_largest(self, half: _Half[T], least: int) -> T | None:
        counts: dict[str, int] = {}
        for ring in half.rings:
            for key, tickets in ring.items():
                counts[key] = counts.get(key, 0) + len(tickets)
        largest = max(counts, key=counts.__getitem__, default="")
        if counts.get(largest, 0) < least:
            return None
        interactive, bulk = half.rings
        return next(reversed(bulk.get(largest) or interactive[largest]))


def _fairest(
    ring: OrderedDict[str, dict[T, None]], at_work: Mapping[str, int], passed_over: Collection[T]
) -> T | None:
    """Return the first ticket of the key with the fewest requests at work."""
    best: T | None = None
    fewest = -1
    for key, tickets in ring.items():
        count = at_work.get(key, 0)
        if best is None or count < fewest:
            ticket = next((each for each in tickets if each not in passed_over), None)
            if ticket is not None:
                best, fewest = ticket, count
    return best
