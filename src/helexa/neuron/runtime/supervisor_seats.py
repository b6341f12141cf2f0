"""The seats of all models, with a clock and callbacks around the pure `Admission`.

The supervisor opens, drains and closes a model's seats; the executor asks for one per request and
gives it back. Everything happens on the event loop's thread, synchronously.
"""

import asyncio
from collections.abc import Callable

from helexa.neuron.registry.admission import (
    QUEUE_MAX,
    WAIT_S_MAX,
    Admission,
    Admitted,
    Queued,
    Verdict,
)
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from helexa.util.clock import Clock

OnVerdict = Callable[[Admitted | Refusal], None]
"""Called once for each queued request that neither left nor was given back; must not raise."""


class Seats:
    """Who is at work on which model of this neuron, and who waits.

    A request keeps the `Admission` it was let into: after a restart of the engine, giving a seat
    back cannot free one of the new engine's.
    """

    def __init__(
        self, clock: Clock, *, queue_max: int = QUEUE_MAX, wait_s_max: float = WAIT_S_MAX
    ) -> None:
        self._clock = clock
        self._queue_max = queue_max
        self._wait_s_max = wait_s_max
        self._models: dict[str, Admission] = {}
        self._inside: dict[str, Admission] = {}
        self._watchers: dict[str, OnVerdict] = {}
        self._drained: dict[int, tuple[Admission, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    # ── for the executor ──────────────────────────────────────────────────────────────────────

    def ask(self, model_id: str, ticket: str, on_verdict: OnVerdict) -> Admitted | Queued | Refusal:
        """Ask for a seat; `ticket` must be unique among the requests of this neuron.

        `on_verdict` is called later only if the answer is `Queued`. `Admitted`, now or later,
        obliges to `release`.
        """
        admission = self._models.get(model_id)
        if admission is None:
            return Refusal(
                ErrorCode.SERVICE_UNAVAILABLE, f"model {model_id!r} is not served by this neuron"
            )
        if ticket in self._inside:
            raise ValueError(f"ticket {ticket!r} is inside already")
        outcome = admission.ask(ticket, self._clock.monotonic())
        if isinstance(outcome, Refusal):
            return outcome
        self._inside[ticket] = admission
        if isinstance(outcome, Queued):
            self._watchers[ticket] = on_verdict
            self._arm()
        return outcome

    def release(self, ticket: str) -> None:
        """Give back a seat or a place in the queue; a second time does nothing."""
        admission = self._inside.pop(ticket, None)
        if admission is None:
            return
        self._watchers.pop(ticket, None)
        verdicts = admission.release(ticket, self._clock.monotonic())
        if verdicts:
            self._tell(verdicts)
        if admission.closed:
            self._note_drained(admission)

    def load(self, model_id: str) -> tuple[int, int]:
        """Return how many requests are at work on the model and how many wait."""
        admission = self._models.get(model_id)
        return (admission.active, admission.waiting) if admission else (0, 0)

    @property
    def total(self) -> tuple[int, int]:
        """Requests at work and waiting, over all models."""
        admissions = self._models.values()
        return sum(a.active for a in admissions), sum(a.waiting for a in admissions)

    # ── for the supervisor ────────────────────────────────────────────────────────────────────

    def open(self, model_id: ModelId, seats: int) -> None:
        """The model serves with so many seats; an earlier opening ends here."""
        gone = self._models.get(model_id)
        if gone is not None:
            self._close(gone, Refusal(ErrorCode.SERVICE_UNAVAILABLE, "the engine was replaced"))
        self._models[model_id] = Admission(seats, self._queue_max, self._wait_s_max)

    def drain(self, model_id: ModelId, refusal: Refusal, on_empty: Callable[[], None]) -> None:
        """Let nobody in any more; `on_empty` is called when the last at work is done."""
        admission = self._models.get(model_id)
        if admission is None:
            on_empty()
            return
        self._drained[id(admission)] = (admission, on_empty)
        self._close(admission, refusal)
        self._note_drained(admission)

    def close(self, model_id: ModelId, refusal: Refusal) -> None:
        """The engine is gone: refuse those that wait. Those at work release as they end."""
        admission = self._models.pop(model_id, None)
        if admission is not None:
            self._drained.pop(id(admission), None)
            self._close(admission, refusal)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _close(self, admission: Admission, refusal: Refusal) -> None:
        self._tell(admission.close(refusal))

    def _note_drained(self, admission: Admission) -> None:
        if admission.active or not admission.closed:
            return
        found = self._drained.pop(id(admission), None)
        if found is not None:
            found[1]()

    def _tell(self, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            if isinstance(verdict.outcome, Refusal):
                self._inside.pop(verdict.ticket, None)
            self._watchers.pop(verdict.ticket)(verdict.outcome)

    def _arm(self) -> None:
        if self._timer is not None:
            return
        deadlines = [a.deadline for a in self._models.values()]
        at = min((at for at in deadlines if at is not None), default=None)
        if at is not None:
            wait_s = max(0.0, at - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for admission in list(self._models.values()):
            self._tell(admission.expire(now))
        self._arm()
