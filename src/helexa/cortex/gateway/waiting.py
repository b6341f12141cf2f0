"""Requests that wait: for a model that is loading (held), or for a seat (in line).

A request in line is let in when one ends; whatever else may have made room (a new snapshot, a
seat that an anonymous caller may not have) is looked at with the next snapshot or sweep.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

from helexa.cortex.gateway.admission import Admission
from helexa.cortex.gateway.edge.server import log_fault
from helexa.cortex.gateway.loading import load_comment, still_loading
from helexa.cortex.gateway.relay import KEEPALIVE, Relay
from helexa.cortex.gateway.steering import asked_of
from helexa.cortex.gateway.waiting_line import Claim
from helexa.cortex.orchestrator.events import ModelWanted
from helexa.cortex.orchestrator.scheduler import find_model
from helexa.cortex.orchestrator.snapshot import ModelView
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from helexa.protocol.workload import Operation, WorkloadClass

if TYPE_CHECKING:
    from helexa.cortex.gateway.pipeline import Pipeline

_FAULT: Final = Refusal(ErrorCode.INTERNAL_ERROR, "the request could not be handled")
PASSED_OVER_MAX: Final = 2
"""Tickets that are passed over because the free seat is of no use to them; each look costs a
routing decision."""
RESUME_WAIT_S: Final = 2.0
"""A caller whose stream broke is told within this time, if nothing goes on with it."""


class WaitingRoom:
    """All that wait in one gateway."""

    def __init__(self, pipeline: "Pipeline", admission: Admission[Relay]) -> None:
        self.admission = admission
        self._pipeline = pipeline
        self._held: dict[Relay, float] = {}
        """Requests for models that load, and until when each may wait."""
        self._due: dict[ModelId, None] = {}
        self._letting_in = False

    @property
    def held(self) -> int:
        """Return how many requests wait for a model to load."""
        return len(self._held)

    @property
    def queued(self) -> int:
        """Return how many requests wait for a seat."""
        return len(self.admission)

    def by_model(self) -> dict[ModelId, int]:
        """Return how many requests of each model wait."""
        counts = Counter(self.admission.tickets.values())
        for relay in self._held:
            model = self._model_of(relay)
            if model is not None:
                counts[model.config.id] += 1
        return dict(counts)

    def comment_for(self, relay: Relay) -> bytes:
        """Return the comment that keeps a silent stream alive: how far its model is, or nothing."""
        model = self._model_of(relay) if relay in self._held else None
        return KEEPALIVE if model is None else load_comment(model, self._pipeline.now())

    # ── coming ────────────────────────────────────────────────────────────────────────────────

    def has_to_wait(self, relay: Relay) -> bool:
        """Put a new request in line or refuse it, where others go first; False: it may be sent.

        Others go first where some wait for the model already, and where a seat is kept for those
        that hold a key.
        """
        admission, principal = self.admission, relay.principal
        anonymous = principal.anonymous
        if not anonymous:
            admission.keys_are_shown = True
        # This is the way of every request: nothing is called here but where somebody waits.
        if not (
            admission.tickets or admission.bounds_keys or (anonymous and admission.keys_are_shown)
        ):
            return False
        if relay.head.operation is Operation.COUNT_TOKENS:
            return False  # it takes no seat
        model = self._model_of(relay)
        if model is None:
            return False
        model_id = model.config.id
        refusal = admission.refusal_of(model_id, principal.key_id)
        if refusal is not None:
            relay.fail(refusal)
            return True
        others_first = admission.ahead(model_id, anonymous=anonymous)
        if not others_first and self._may_sit(model, anonymous=anonymous):
            return False
        self._stand_in_line(relay, model_id)
        return True

    def receive(self, relay: Relay, refusal: Refusal) -> None:
        """Take a request that cannot be sent now: hold it, put it in line, or refuse it."""
        full = refusal.code is ErrorCode.RATE_LIMIT_EXCEEDED
        if full and relay in self.admission:
            return  # its turn has not come: it stays where it stands
        if full:
            model = self._model_of(relay)
            assert model is not None, "a model that is not there is full"
            self._stand_in_line(relay, model.config.id)
        elif refusal.code is ErrorCode.MODEL_LOADING and not relay.kept.resumes:
            self._hold(relay, refusal)
        else:
            relay.fail(relay.otherwise or refusal)

    def _stand_in_line(self, relay: Relay, model_id: ModelId) -> None:
        principal = relay.principal
        claim = Claim(
            model_id,
            principal.key_id,
            anonymous=principal.anonymous,
            bulk=relay.workload_class is WorkloadClass.CHAT_BULK,
            again=relay.attempts > 0,
            wait_s_max=RESUME_WAIT_S if relay.kept.resumes else None,
        )
        self.leave(relay)
        relay.waits = True
        for gone, refusal in self.admission.enter(relay, claim, self._pipeline.now()):
            gone.waits = False
            gone.fail(gone.otherwise or refusal)

    def _hold(self, relay: Relay, refusal: Refusal) -> None:
        pipeline = self._pipeline
        limit_s = pipeline.settings.hold_for_load_s
        if limit_s <= 0:
            relay.fail(relay.otherwise or refusal)
            return
        if relay in self._held:
            return
        if len(self._held) >= pipeline.settings.requests_held_max:
            because = f"{len(self._held)} requests wait for models already"
            relay.fail(Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because))
            return
        self.leave(relay)
        model = self._model_of(relay)
        if model is not None:
            pipeline.report(ModelWanted(model.config.id, cause=relay.exchange.request_id))
        relay.waits = True
        self._held[relay] = relay.started_s + limit_s

    # ── going ─────────────────────────────────────────────────────────────────────────────────

    def leave(self, relay: Relay) -> None:
        """A request waits no longer: it ended, or waits for something else."""
        relay.waits = False
        self.admission.leave(relay)
        self._held.pop(relay, None)

    def sent(self, relay: Relay) -> None:
        """A request that waited is on its way."""
        if relay in self.admission:
            self.admission.take(relay)
        self.leave(relay)

    def send_away(self, refusal: Refusal) -> None:
        """End everything that waits: nothing of it was begun."""
        for relay in (*self._held, *self.admission):
            relay.fail(refusal)

    def wake(self) -> None:
        """A new snapshot is out: look at everything that waits again."""
        for relay in list(self._held):
            if not relay.over:
                self._dispatch(relay)
        for model_id in self.admission.models_waited_for():
            self.let_in(model_id)

    def let_in(self, model_id: ModelId) -> None:
        """Send those who are next, as long as there are seats for them."""
        self._due[model_id] = None
        if self._letting_in:
            return  # a request that fails at once ends within this very loop
        self._letting_in = True
        try:
            while self._due:
                due, _ = self._due.popitem()
                self._let_in(due)
        finally:
            self._letting_in = False

    def _let_in(self, model_id: ModelId) -> None:
        admission, pipeline = self.admission, self._pipeline
        passed_over: set[Relay] = set()
        while admission.waiting(model_id) and len(passed_over) < PASSED_OVER_MAX:
            model = pipeline.snapshot().models.get(model_id)
            leftover = model is None or self._may_sit(model, anonymous=True)
            now_s = pipeline.now()
            relay = admission.peek(model_id, now_s, leftover=leftover, passed_over=passed_over)
            if relay is None:
                return
            self._dispatch(relay)
            if relay in admission:
                passed_over.add(relay)

    def _dispatch(self, relay: Relay) -> None:
        """Try to send one that waited. What a plug-in raises over it ends it, and nothing else."""
        try:
            self._pipeline.dispatch(relay)
        except Exception as error:  # noqa: BLE001  whoever waits behind it has nothing to do with it
            log_fault(error, relay.exchange.request_id)
            relay.abandon(_FAULT)

    def _model_of(self, relay: Relay) -> ModelView | None:
        snapshot = self._pipeline.snapshot()
        model = find_model(asked_of(relay, snapshot, self._pipeline.router), snapshot)
        return None if isinstance(model, Refusal) else model

    def _may_sit(self, model: ModelView, *, anonymous: bool) -> bool:
        sent = self._pipeline.inflight.on
        seats = ((each.seats, sent(each)) for each in model.replicas)
        return self.admission.may_sit(anonymous=anonymous, seats=seats)

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    def sweep(self, now_s: float) -> None:
        """End what waited too long, and look whether there is room after all."""
        limit_s = self._pipeline.settings.hold_for_load_s
        for relay, until_s in list(self._held.items()):
            if now_s >= until_s:
                relay.fail(still_loading(self._model_of(relay), limit_s, now_s))
        for relay, refusal in self.admission.expire(now_s):
            relay.waits = False
            relay.fail(relay.otherwise or refusal)
        for model_id in self.admission.models_waited_for():
            self.let_in(model_id)
