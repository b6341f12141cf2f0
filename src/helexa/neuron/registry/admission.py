"""Who may use a model now: seats, a bounded queue, and a bounded wait. Pure.

One `Admission` per loaded model. A request asks with a ticket (its id, unique among those inside)
and is admitted, queued or refused. Each queued ticket gets exactly one verdict later, from
`release`, `expire` or `close`, unless it leaves by itself. Never more than `seats` are at work.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from helexa.protocol.errors import ErrorCode, Refusal

QUEUE_MAX: Final = 8
WAIT_S_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """The ticket has a seat; it must be given back by `release`."""

    waited_s: float = 0.0


_AT_ONCE: Final = Admitted()


@dataclass(frozen=True, slots=True)
class Queued:
    """The ticket waits at `place` (1 is next); a verdict follows by `until` at the latest."""

    place: int
    until: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a ticket that was queued."""

    ticket: str
    outcome: Admitted | Refusal


class Admission:
    """The seats of one model and the line before them."""

    __slots__ = ("_active", "_closed", "_queue_max", "_seats", "_wait_s_max", "_waiting")

    def __init__(
        self, seats: int, queue_max: int = QUEUE_MAX, wait_s_max: float = WAIT_S_MAX
    ) -> None:
        if seats < 1 or queue_max < 0 or wait_s_max < 0:
            raise ValueError(f"seats {seats}, queue {queue_max}, wait {wait_s_max}: out of range")
        self._seats = seats
        self._queue_max = queue_max
        self._wait_s_max = wait_s_max
        self._active: set[str] = set()
        self._waiting: OrderedDict[str, float] = OrderedDict()
        self._closed: Refusal | None = None

    @property
    def active(self) -> int:
        """Tickets that hold a seat."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Tickets in the queue."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Nothing is let in any more."""
        return self._closed is not None

    @property
    def deadline(self) -> float | None:
        """When `expire` has something to do next; None while nobody waits."""
        if not self._waiting:
            return None
        return next(iter(self._waiting.values())) + self._wait_s_max

    def ask(self, ticket: str, now: float) -> Admitted | Queued | Refusal:
        """Take a ticket in, or refuse it at once. A ticket that is inside already is a bug."""
        if ticket in self._active or ticket in self._waiting:
            raise ValueError(f"ticket {ticket!r} is inside already")
        if self._closed is not None:
            return self._closed
        if len(self._active) < self._seats:
            # Then nobody waits: every free seat was filled when it came free.
            self._active.add(ticket)
            return _AT_ONCE
        if len(self._waiting) >= self._queue_max:
            return self._overload(f"{self.active} at work, {self.waiting} waiting")
        self._waiting[ticket] = now
        return Queued(place=len(self._waiting), until=now + self._wait_s_max)

    def release(self, ticket: str, now: float) -> list[Verdict]:
        """A ticket leaves, from its seat or from the queue; returns who is admitted in its place.

        A ticket that is not inside is ignored: giving back twice must not free two seats.
        """
        if ticket in self._waiting:
            del self._waiting[ticket]
            return []
        self._active.discard(ticket)
        return self._fill(now) if self._waiting else []

    def expire(self, now: float) -> list[Verdict]:
        """Refuse those that have waited as long as is allowed."""
        verdicts: list[Verdict] = []
        while self._waiting:
            ticket, since = next(iter(self._waiting.items()))
            if now < since + self._wait_s_max:
                break
            del self._waiting[ticket]
            refusal = self._overload(f"no seat came free in {self._wait_s_max:g} s")
            verdicts.append(Verdict(ticket, refusal))
        return verdicts

    def close(self, refusal: Refusal) -> list[Verdict]:
        """Let nobody in from now on and refuse all that wait; those at work may finish."""
        self._closed = refusal
        verdicts = [Verdict(ticket, refusal) for ticket in self._waiting]
        self._waiting.clear()
        return verdicts

    def _fill(self, now: float) -> list[Verdict]:
        verdicts: list[Verdict] = []
        while self._waiting and len(self._active) < self._seats:
            ticket, since = self._waiting.popitem(last=False)
            self._active.add(ticket)
            verdicts.append(Verdict(ticket, Admitted(waited_s=now - since)))
        return verdicts

    def _overload(self, why: str) -> Refusal:
        # The longer the line, the later a retry has a chance; SDKs obey 1 to 30 s.
        wait_s = min(30, 1 + 2 * len(self._waiting) // max(1, self._seats))
        return Refusal(
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"all {self._seats} seats of the model are taken ({why})",
            retry_after_s=wait_s,
        )
