"""What was decided about recent requests, so that a person can ask why afterwards. Pure.

Noting costs about a microsecond: only references are kept (the request as routing saw it, the
snapshot, the requests in flight), and the explanation is worked out when somebody asks, by the same
pure function that routed. Kept are the last `RECENT_MAX` requests, and for `FAILED_S` those that
were refused or failed, at most `FAILED_MAX`. Snapshots are kept within a budget; a request that
outlives its snapshot still tells what was decided and when.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final, NamedTuple

from helexa.cortex.gateway.metering import Outcome, Record
from helexa.cortex.orchestrator.requests import Explanation, RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import PLAIN, explain
from helexa.cortex.orchestrator.snapshot import EMPTY, FleetSnapshot, Replica
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import ModelId, NeuronId

RECENT_MAX: Final = 2048
FAILED_MAX: Final = 2048
FAILED_S: Final = 600.0
DECISIONS_MAX: Final = 8
"""Of one request: it is decided about again while it waits, and after a failed attempt."""
SNAPSHOTS_MAX: Final = 256
REPLICAS_MAX: Final = 20_000
"""In all kept snapshots together; some 150 bytes each."""
_FINE: Final = frozenset({Outcome.OK, Outcome.CANCELLED})

Counts = Mapping[tuple[NeuronId, ModelId], int] | None
"""Requests in flight by replica; None where they are too many to remember."""


class Kept:
    """One snapshot, until it is let go."""

    __slots__ = ("replica_count", "snapshot")

    def __init__(self, snapshot: FleetSnapshot) -> None:
        self.snapshot: FleetSnapshot | None = snapshot
        self.replica_count = sum(len(model.replicas) for model in snapshot.models.values())


class Decision(NamedTuple):
    """One call of the scheduler, with its inputs."""

    at_s: float
    request: RoutingRequest
    kept: Kept
    outcome: Replica | Refusal
    eligible: int
    counts: Counts

    def explanation(self, router: Router = PLAIN) -> Explanation | None:
        """Return the decision with its reasons; None where its snapshot is kept no more.

        What `router` has learned since (prompts, sessions, speeds) is told as of now.
        """
        snapshot, counts = self.kept.snapshot, self.counts or {}
        if snapshot is None:
            return None

        def sent(replica: Replica) -> int:
            return counts.get((replica.neuron_id, replica.model_id), 0)

        return explain(self.request, snapshot, sent, router)


class Decided(NamedTuple):
    """All that is remembered of one request."""

    decisions: tuple[Decision, ...]
    record: Record | None
    """How it ended; None while it runs."""
    ended_s: float


# As they are kept: a plain tuple is made in a sixth of a named one's time.
_Noted = tuple[float, RoutingRequest, Kept, Replica | Refusal, int, Counts]
_Ended = tuple[list[_Noted], Record, float]


class Decisions:
    """The memory. `now` is monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._running: dict[str, list[_Noted]] = {}
        self._recent: deque[_Ended] = deque(maxlen=RECENT_MAX)
        self._failed: deque[_Ended] = deque(maxlen=FAILED_MAX)
        self._last = Kept(EMPTY)
        self._snapshots: deque[Kept] = deque()
        self._replica_count = 0

    def find(self, request_id: str) -> Decided | None:
        """Return the latest request of this id, if it is still remembered."""
        running = self._running.get(request_id)
        if running is not None:
            return _decided(running, None, 0.0)
        for decisions, record, ended_s in chain(reversed(self._recent), reversed(self._failed)):
            if record.request_id == request_id:
                return _decided(decisions, record, ended_s)
        return None

    def note(
        self,
        request: RoutingRequest,
        snapshot: FleetSnapshot,
        outcome: RoutingDecision | Refusal,
        counts: Counts,
    ) -> None:
        """Remember what routing said. `counts` must not change afterwards."""
        kept = self._last if snapshot is self._last.snapshot else self._keep(snapshot)
        if isinstance(outcome, Refusal):
            noted: _Noted = (self._now(), request, kept, outcome, 0, counts)
        else:
            replica = outcome.replicas[0]
            noted = (self._now(), request, kept, replica, outcome.eligible, counts)
        running = self._running.get(request.request_id)
        if running is None:
            self._running[request.request_id] = [noted]
        else:
            _put(running, noted)

    def ended(self, record: Record) -> None:
        """Remember how a request ended, also one that was refused before it was routed."""
        decisions = self._running.pop(record.request_id, None)
        if decisions is not None:
            self._recent.append((decisions, record, self._now()))
        if record.outcome not in _FINE:
            self._note_failed((decisions or [], record, self._now()))

    def after(self, record_elsewhere: Callable[[Record], None]) -> Callable[[Record], None]:
        """Return a function that tells both `record_elsewhere` and this memory."""

        def record_both(record: Record) -> None:
            record_elsewhere(record)
            self.ended(record)

        return record_both

    # ── what is let go ────────────────────────────────────────────────────────────────────────

    def _note_failed(self, failed: _Ended) -> None:
        self._failed.append(failed)
        since_s = failed[2] - FAILED_S
        while self._failed[0][2] < since_s:
            self._failed.popleft()

    def _keep(self, snapshot: FleetSnapshot) -> Kept:
        kept = self._last = Kept(snapshot)
        self._snapshots.append(kept)
        self._replica_count += kept.replica_count
        while len(self._snapshots) > 1 and (
            len(self._snapshots) > SNAPSHOTS_MAX or self._replica_count > REPLICAS_MAX
        ):
            old = self._snapshots.popleft()
            self._replica_count -= old.replica_count
            old.snapshot = None
        return kept


def _decided(decisions: list[_Noted], record: Record | None, ended_s: float) -> Decided:
    return Decided(tuple(Decision(*noted) for noted in decisions), record, ended_s)


def _put(decisions: list[_Noted], newest: _Noted) -> None:
    """Add a decision; of a long wait only the first and the last are kept."""
    waits = len(decisions) > 1 and isinstance(newest[3], Refusal)
    if (waits and isinstance(decisions[-1][3], Refusal)) or len(decisions) >= DECISIONS_MAX:
        decisions[-1] = newest
    else:
        decisions.append(newest)
