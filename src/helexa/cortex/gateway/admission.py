"""Who waits for a model, who goes next, and what is said to those for whom there is no room. Pure.

One line per model whose seats are all taken. The line knows no seats: whoever owns them asks with
`peek` who is next when one may be free, and takes that ticket out with `take`.

Next is, in this order:
1. who was being served already and lost its replica (`again`), the oldest first;
2. every second time, who has waited longer than `starvation_s`, the oldest first;
3. interactive work before bulk;
4. the key that has the fewest requests at work; among equals, the one that was served longest ago.
Anonymous callers come after all who hold a key, and only take what these leave over: neither the
last seat nor the last place in the line. Where nobody ever shows a key, nothing is kept for them.

A full line turns away whoever takes most of it, which is mostly the newcomer.
"""

import math
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from helexa.cortex.gateway.waiting_line import Claim, Line
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId

RETRY_AFTER_S_MAX: Final = 30
RETRY_AFTER_UNKNOWN_S: Final = 5
"""Where no request of the model has ended yet."""
KEY_RETRY_AFTER_S: Final = 2
SERVICES_FOLLOWED: Final = 20
MODELS_MAX: Final = 1024
"""Models remembered; those that nobody uses are forgotten first."""

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class LineLimits:
    """The bounds of every line; times in seconds."""

    queue_max: int = 128
    wait_s_max: float = 30.0
    starvation_s: float = 10.0
    """After so long a ticket goes before those that came later, every second time."""
    per_key_max: int | None = None
    """Requests that one key may have at work and waiting, per model; None is no bound."""


class ServiceTime:
    """How long a request is at work, a mean that follows the last twenty or so.

    The rate of service is what is at work by this mean (Little's law). Counting ends per second
    instead would take an hour without requests for an hour of slow ones.
    """

    __slots__ = ("_count", "mean_s")

    def __init__(self) -> None:
        self._count = 0
        self.mean_s = 0.0

    def note(self, served_s: float) -> None:
        """A request was at work for so long."""
        self._count += 1
        self.mean_s += (served_s - self.mean_s) / min(self._count, SERVICES_FOLLOWED)

    def per_second(self, at_work: int) -> float | None:
        """Return how many of those at work end in a second; None while none has."""
        if not self._count or not at_work:
            return None
        return at_work / max(self.mean_s, 1e-6)


class _Model(Generic[T]):
    __slots__ = ("at_work", "line", "service")

    def __init__(self) -> None:
        self.at_work: dict[str, int] = {}
        self.line: Line[T] = Line()
        self.service = ServiceTime()


class Admission(Generic[T]):
    """All lines of one gateway. A ticket is whatever stands for a request, unique and hashable."""

    def __init__(self, limits: LineLimits) -> None:
        self._limits = limits
        self._models: dict[ModelId, _Model[T]] = {}
        self.tickets: dict[T, ModelId] = {}
        """All that wait, and for which model; for others to read."""
        self.keys_are_shown = False
        """Someone with a key was here: from now on a seat and a place are kept for such. Set by
        whoever sees the callers."""
        self.bounds_keys = limits.per_key_max is not None

    def __len__(self) -> int:
        """Return how many wait, over all models."""
        return len(self.tickets)

    def __contains__(self, ticket: object) -> bool:
        return ticket in self.tickets

    def __iter__(self) -> Iterator[T]:
        """Go through all that wait, as of now."""
        return iter(tuple(self.tickets))

    def waiting(self, model_id: ModelId) -> int:
        """Return how many wait for a model."""
        model = self._models.get(model_id)
        return len(model.line) if model is not None else 0

    def ahead(self, model_id: ModelId, *, anonymous: bool) -> int:
        """Return how many wait for a model whom a newcomer must not overtake."""
        model = self._models.get(model_id)
        return model.line.ahead(anonymous=anonymous) if model is not None else 0

    def models_waited_for(self) -> list[ModelId]:
        """Return the models that have a line."""
        return list(dict.fromkeys(self.tickets.values()))

    # ── at work ───────────────────────────────────────────────────────────────────────────────

    def begin(self, model_id: ModelId, key: str) -> None:
        """A request of this key is at work on a replica from now on."""
        model = self._models.get(model_id)
        if model is None:
            model = self._new_model(model_id)
        model.at_work[key] = model.at_work.get(key, 0) + 1

    def end(self, model_id: ModelId, key: str, served_s: float | None) -> None:
        """It is no longer at work; it had its answer after `served_s`, or None for none."""
        model = self._models[model_id]
        left = model.at_work.get(key, 0) - 1
        assert left >= 0, f"more requests of {key} ended on {model_id} than began"
        if left:
            model.at_work[key] = left
        else:
            del model.at_work[key]
        if served_s is not None:
            model.service.note(served_s)

    def refusal_of(self, model_id: ModelId, key: str) -> Refusal | None:
        """Say no to a key that has as many requests on the model as one key may have."""
        allowed = self._limits.per_key_max
        model = self._models.get(model_id)
        if allowed is None or model is None:
            return None
        has = model.at_work.get(key, 0) + model.line.count_of(key)
        if has < allowed:
            return None
        return Refusal(
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"this key has {has} requests on model {model_id!r}; at most {allowed} are allowed",
            retry_after_s=KEY_RETRY_AFTER_S,
        )

    def may_sit(self, *, anonymous: bool, seats: Iterable[tuple[int, int]]) -> bool:
        """Tell whether a caller may have one of the free seats; `seats`: (seats, taken) each.

        Anonymous callers leave one free, unless the model has no more than one seat at all.
        """
        if not anonymous or not self.keys_are_shown:
            return True
        pairs = tuple(seats)
        free = sum(max(count - taken, 0) for count, taken in pairs)
        return free >= 2 or sum(count for count, _ in pairs) <= 1

    # ── waiting ───────────────────────────────────────────────────────────────────────────────

    def enter(self, ticket: T, claim: Claim, now_s: float) -> list[tuple[T, Refusal]]:
        """Stand in line; return who is turned away by that: nobody, the newcomer or another.

        A ticket that waits already is a bug (ValueError).
        """
        if ticket in self.tickets:
            raise ValueError(f"ticket {ticket!r} waits already")
        model = self._models.get(claim.model_id) or self._new_model(claim.model_id)
        line = model.line
        turned_away: list[tuple[T, Refusal]] = []
        if not claim.again:
            places = self._limits.queue_max
            if claim.anonymous and self.keys_are_shown:
                places -= 1
            if line.ordinary >= places:
                leaver = line.takes_most(claim) if line.ordinary >= self._limits.queue_max else None
                refusal = self._overload(claim.model_id, model, "as many wait as may")
                if leaver is None:
                    return [(ticket, refusal)]
                self._remove(leaver)
                turned_away.append((leaver, refusal))
        line.add(ticket, claim, now_s, now_s + self._wait_s(claim))
        self.tickets[ticket] = claim.model_id
        return turned_away

    def peek(
        self, model_id: ModelId, now_s: float, *, leftover: bool, passed_over: Collection[T] = ()
    ) -> T | None:
        """Return who is next, None for nobody; it stays in line until `take`.

        `leftover`: a seat may go to anonymous callers (`may_sit`). `passed_over` are tickets for
        which the free seat was of no use.
        """
        model = self._models.get(model_id)
        if model is None:
            return None
        overdue_before_s = now_s - self._limits.starvation_s
        return model.line.next(
            model.at_work, overdue_before_s, leftover=leftover, passed_over=passed_over
        )

    def take(self, ticket: T) -> None:
        """Take a ticket out of its line, because it is served or refused now."""
        self._models[self.tickets.pop(ticket)].line.remove(ticket, served=True)

    def leave(self, ticket: T) -> bool:
        """A caller is gone: give its place back; tells whether it had one."""
        if ticket not in self.tickets:
            return False
        self._remove(ticket)
        return True

    def expire(self, now_s: float) -> list[tuple[T, Refusal]]:
        """Take out those that have waited as long as is allowed; return them, oldest first."""
        gone: list[tuple[T, Refusal]] = []
        for model_id in self.models_waited_for():
            model = self._models[model_id]
            for ticket, waited_s in model.line.expired(now_s):
                why = f"no seat came free in {waited_s:g} s"
                gone.append((ticket, self._overload(model_id, model, why)))
        for ticket, _ in gone:
            self._remove(ticket)
        return gone

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _wait_s(self, claim: Claim) -> float:
        most = self._limits.wait_s_max
        return most if claim.wait_s_max is None else min(claim.wait_s_max, most)

    def _remove(self, ticket: T) -> None:
        self._models[self.tickets.pop(ticket)].line.remove(ticket)

    def _new_model(self, model_id: ModelId) -> _Model[T]:
        if len(self._models) >= MODELS_MAX:
            idle = [key for key, each in self._models.items() if not (each.at_work or each.line)]
            for key in idle:
                del self._models[key]
        return self._models.setdefault(model_id, _Model())

    def _overload(self, model_id: ModelId, model: _Model[T], why: str) -> Refusal:
        at_work = sum(model.at_work.values())
        return Refusal(
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"all seats of model {model_id!r} are taken: {why} "
            f"({at_work} at work, {len(model.line)} waiting)",
            retry_after_s=retry_after_s(len(model.line), model.service.per_second(at_work)),
        )


def retry_after_s(waiting: int, per_second: float | None) -> int:
    """Return whole seconds after which those that wait now will have been served, 1 to 30."""
    if per_second is None:
        return RETRY_AFTER_UNKNOWN_S
    if waiting >= per_second * RETRY_AFTER_S_MAX:
        return RETRY_AFTER_S_MAX
    return max(1, math.ceil(waiting / per_second))
