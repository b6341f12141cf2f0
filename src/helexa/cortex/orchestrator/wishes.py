"""What should run: the configured models, what is asked of them, and how many of each. Pure.

The spec and the config say what may be (`configure`); requests, operators and what was learned
say how much of it there is now. A model that only a neuron knows is desired while a request waits
for it.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from helexa.cortex.orchestrator.demand import (
    DemandState,
    Learned,
    ModelDemand,
    hardware_key,
)
from helexa.cortex.orchestrator.events import (
    DemandRestored,
    DemandSampled,
    DesiredChanged,
    ModelPinned,
    ModelUnwanted,
    ModelWanted,
)
from helexa.cortex.orchestrator.forecast import Forecaster, lead_s
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.remembered import (
    DemandMemory,
    learned_of,
    remembered_model,
    restored_demand,
    restored_forecast,
)
from helexa.cortex.orchestrator.retention import UNKNOWN_LOAD_S
from helexa.cortex.orchestrator.rules import DEFAULT_RULES, ModelRules
from helexa.cortex.orchestrator.seat_learner import SeatLearner
from helexa.cortex.orchestrator.sizing import DEMAND_S, Load, Scale, first_scale
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    Instance,
    ModelView,
    NeuronView,
    Outlook,
    frozen,
)
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import HardwareReport

Wish = DesiredChanged | ModelWanted | ModelUnwanted | ModelPinned | DemandSampled | DemandRestored
_NONE: Final = Scale(0)
AHEAD_S: Final = 30.0
"""What is only forecast and finds no room is planned again at this interval, and not each tick."""


class Wishes:
    """The models that should be loaded, how many times, and why."""

    def __init__(self, policy: FleetPolicy) -> None:
        self._policy = policy.provisioning
        self._strategy = policy.strategy
        self._demanded: dict[ModelId, tuple[float, float, str]] = {}
        """When it was first and last asked for, and by whom."""
        self._scales: dict[ModelId, Scale] = {}
        self._set_aside: set[ModelId] = set()
        self._pinned: set[ModelId] = set()
        self._seats = SeatLearner()
        self._warm: dict[ModelId, int] = {}
        """Replicas that the forecast wants to be there, of models of which it wants any."""
        self._ahead_planned_s = 0.0
        self._loads: tuple[object, dict[ModelId, float]] = (None, {})
        """The learned load times, and the longest of each model among them."""
        self.configured: dict[ModelId, DesiredModel] = {}
        self.demand = DemandState()
        self.forecast = Forecaster()

    # ── what happens ──────────────────────────────────────────────────────────────────────────

    def take(self, event: Wish, now: float, known: Mapping[str, ModelView]) -> bool:
        """Take an event; True if a new snapshot is due. `known` are all models of the last one."""
        match event:
            case DesiredChanged():
                self._configure(event)
            case ModelWanted():
                return event.model_id in known and self._want(event, now)
            case ModelUnwanted():
                self._set_aside.add(event.model_id)
                self._demanded.pop(event.model_id, None)
            case ModelPinned(pinned=True):
                self._pinned.add(event.model_id)
            case ModelPinned():
                self._pinned.discard(event.model_id)
            case DemandSampled():
                return self._sample(event, now)
            case DemandRestored():
                self._restore(event.memory, event.away_s, now)
        return True

    def _configure(self, event: DesiredChanged) -> None:
        if event.policy is not None:
            if event.policy.learned_seats_min != self._policy.learned_seats_min:
                self._seats.look_again(self.demand)
            self._policy = event.policy
        self.configured = {
            config.id: DesiredModel(
                config=config,
                digest=config.digest(),
                cause=event.cause,
                rules=event.rules.get(config.id, DEFAULT_RULES),
            )
            for config in event.models
        }

    def _want(self, event: ModelWanted, now: float) -> bool:
        before = self._demanded.get(event.model_id)
        first_s = before[0] if before is not None else now
        self._demanded[event.model_id] = (first_s, now, event.cause)
        self.demand.asked(event.model_id, now)
        self._set_aside.discard(event.model_id)
        return before is None

    def _sample(self, event: DemandSampled, now: float) -> bool:
        self.demand.take(event.samples, now)
        self._seats.note(event.samples)
        if event.local_s is not None:
            self.forecast.turn(event.local_s, now)
        for sample in event.samples:
            if sample.waiting:
                self._set_aside.discard(sample.model_id)
            if sample.model_id in self.configured and not sample.is_empty:
                self.forecast.note(sample.model_id, self.demand.of(sample.model_id, now).level())
        return any(not sample.is_empty for sample in event.samples)

    def _restore(self, memory: DemandMemory, away_s: float, now: float) -> None:
        self.demand = restored_demand(memory, now, away_s)
        self.forecast = restored_forecast(memory)
        for each in memory.models:
            self._scales[each.model_id] = Scale(
                each.replicas,
                because="as before the restart",
                ahead_since_s=now if each.ahead else None,
            )
            if each.pinned:
                self._pinned.add(each.model_id)
            if each.set_aside:
                self._set_aside.add(each.model_id)

    def changed(
        self, hardware: HardwareReport, before: Instance, after: Instance, now: float
    ) -> None:
        """Note that a model changed its state on a neuron: demands are met, loads are timed."""
        status = after.status
        if status is None or status.state is not ModelState.LOADED:
            return
        self._demanded.pop(status.model_id, None)
        if before.state is ModelState.LOADING and status.config is not None:
            key = (status.model_id, status.config.engine, hardware_key(hardware))
            self.demand.loaded(key, now - before.since_s)

    # ── what time does ────────────────────────────────────────────────────────────────────────

    def tick(
        self, models: Mapping[str, ModelView], neurons: Mapping[NeuronId, NeuronView], now: float
    ) -> bool:
        """Let time pass; True if a new snapshot is due, or may be at the next tick."""
        old = [key for key, (_, at_s, _) in self._demanded.items() if now - at_s >= DEMAND_S]
        for key in old:
            del self._demanded[key]
        least = self._policy.learned_seats_min
        self._seats.learn(self.demand, models, neurons, least, now)
        before = self._asked_for()
        self.resize(models, now)
        if old or self._seats.has_news or before != self._asked_for():
            return True
        if any(view.lent and self._may_be_idle(view.config.id, now) for view in models.values()):
            return True
        # Who waits long enough may displace somebody, who is in use falls idle, and a replica too
        # many may leave: while a model has not what it should have, every tick is planned.
        ahead = False
        for key, scale in self._scales.items():
            view = models.get(key)
            if view is None:
                continue
            missing = scale.replicas - len(view.replicas)
            if self._is_waited_for(key) or missing > scale.ahead or missing < 0:
                return True
            ahead = ahead or missing > 0
        if not ahead or now - self._ahead_planned_s < AHEAD_S:
            return False
        self._ahead_planned_s = now
        return True

    def _asked_for(self) -> tuple[dict[ModelId, int], dict[ModelId, tuple[int, bool]]]:
        scales = {k: (s.replicas, s.ahead_since_s is None) for k, s in self._scales.items()}
        return self._warm, scales

    def _may_be_idle(self, model_id: ModelId, now: float) -> bool:
        """Tell whether a lent model may have been idle for long enough to leave."""
        keep_alive_s, demand = self._policy.keep_alive_s, self.demand.models.get(model_id)
        return keep_alive_s is not None and (demand is None or demand.idle_s(now) >= keep_alive_s)

    def resize(self, models: Mapping[str, ModelView], now: float) -> None:
        """Work out how many replicas of each configured model there should be."""
        scales: dict[ModelId, Scale] = {}
        self._warm = {}
        for model_id, desired in self.configured.items():
            if model_id in self._set_aside:
                scales[model_id] = Scale(0, because="an operator unloaded it")
                continue
            view = models.get(model_id)
            rules = self._rules(desired)
            load = self._load(desired, view, now)
            if rules.forecast and self.forecast.watches(model_id):
                load = self._with_forecast(load, model_id, view, now)
            before = self._scales.get(model_id) or first_scale(load.loaded, rules)
            after = self._strategy.resize(before, load, rules, self._policy, now)
            count = min(max(after.replicas, rules.floor), rules.ceiling())
            if load.warm:
                self._warm[model_id] = min(load.warm, rules.ceiling())
            scales[model_id] = after if count == after.replicas else replace(after, replicas=count)
        self._scales = scales

    def _load(self, desired: DesiredModel, view: ModelView | None, now: float) -> Load:
        model_id = desired.config.id
        demand = self.demand.of(model_id, now)
        replicas = view.replicas if view is not None else ()
        seats = [replica.seats for replica in replicas]
        active = any(r.active_requests for r in replicas)
        return Load(
            expected=demand.expected(),
            wanted=self._is_waited_for(model_id),
            idle_s=0.0 if active else demand.idle_s(now),
            seats=max(1, sum(seats) // len(seats)) if seats else 0,
            loaded=len(replicas),
        )

    def _with_forecast(
        self, load: Load, model_id: ModelId, view: ModelView | None, now: float
    ) -> Load:
        """Return a load with the replicas that are expected to be needed; one while the seats of
        a replica are not known."""
        lead = lead_s(self._load_s().get(model_id, UNKNOWN_LOAD_S))
        expected = self.forecast.expected(model_id, lead, now)
        if expected is None:
            return load
        seats = load.seats
        if not seats and view is not None and view.capability is not None:
            seats = view.capability.seats
        per_replica = seats * self._policy.target_utilisation
        warm = math.ceil(expected.level / per_replica) if per_replica > 0 else 1
        return replace(load, warm=warm, warm_because=expected.because())

    def _load_s(self) -> dict[ModelId, float]:
        """Return how long each model's load takes, on the machines where it takes longest."""
        learned, longest = self._loads
        if learned is not self.demand.load_s:
            learned, longest = self.demand.load_s, {}
            for (model_id, _, _), seconds in learned.items():
                longest[model_id] = max(seconds, longest.get(model_id, 0.0))
            self._loads = learned, longest
        return longest

    def _is_waited_for(self, model_id: ModelId) -> bool:
        demand = self.demand.models.get(model_id)
        waits = demand is not None and demand.waiting > 0
        return waits or model_id in self._demanded

    def take_reseated(self) -> set[ModelId]:
        """Return the models whose replicas are given more or fewer seats since the last call."""
        return self._seats.take()

    # ── what comes of it ──────────────────────────────────────────────────────────────────────

    def desired(self, known: Mapping[str, ModelView]) -> dict[ModelId, DesiredModel]:
        """Return every configured model, and those that requests asked for."""
        desired = {key: self._sized(model) for key, model in self.configured.items()}
        for model_id in self._set_aside:
            if model_id not in desired and model_id in known:
                config = known[model_id].config
                away = DesiredModel(config, config.digest(), replicas=0, set_aside=True)
                desired[model_id] = replace(away, because="an operator unloaded it")
        for model_id in (*self._demanded, *sorted(self._pinned)):
            if model_id not in desired and model_id in known:
                config = known[model_id].config
                asked = self._demanded.get(model_id)
                bare = DesiredModel(config, config.digest(), demanded=True)
                desired[model_id] = replace(
                    bare,
                    cause=asked[2] if asked is not None else "an operator pinned it",
                    rules=self._rules(bare),
                    waiting_since_s=self._waiting_since_s(model_id),
                )
        return desired

    def _sized(self, model: DesiredModel) -> DesiredModel:
        model_id = model.config.id
        scale = self._scales.get(model_id, _NONE)
        asked = self._demanded.get(model_id)
        return replace(
            model,
            replicas=scale.replicas,
            cause=asked[2] if asked is not None else model.cause,
            rules=self._rules(model),
            waiting_since_s=self._waiting_since_s(model_id),
            because=scale.because,
            set_aside=model_id in self._set_aside,
            warm=self._warm.get(model_id, 0),
            ahead=scale.ahead,
        )

    def _rules(self, model: DesiredModel) -> ModelRules:
        if model.config.id in self._pinned:
            return replace(model.rules, pinned=True)
        return model.rules

    def _waiting_since_s(self, model_id: ModelId) -> float | None:
        demand = self.demand.models.get(model_id)
        asked = self._demanded.get(model_id)
        times = [
            demand.waiting_since_s if demand is not None else None,
            asked[0] if asked is not None else None,
        ]
        return min((at_s for at_s in times if at_s is not None), default=None)

    def outlook(self, now: float) -> Outlook:
        """Return what provisioning goes by, as of now."""
        demand: dict[ModelId, ModelDemand] = {
            key: known.at(now) for key, known in self.demand.models.items()
        }
        return Outlook(
            demand=frozen(demand),
            learned=self._learned(),
            policy=self._policy,
            strategy=self._strategy,
            profiles=self.forecast.profiles,
        )

    def _learned(self) -> Learned:
        return Learned(self.demand.load_s, self.demand.useful)

    def memory(self, now: float, wall_s: float) -> DemandMemory:
        """Return what is worth keeping over a restart."""
        self.demand.retain(self.configured, now)
        self.forecast.forget(self.demand.models)
        keys = sorted(self.demand.models.keys() | self._pinned | self._set_aside)
        loads, seats = learned_of(self.demand)
        return DemandMemory(
            wall_s=wall_s,
            models=tuple(
                remembered_model(
                    key,
                    self.demand.of(key, now),
                    now,
                    scale=self._scales.get(key, _NONE),
                    forecast=self.forecast,
                    pinned=key in self._pinned,
                    set_aside=key in self._set_aside,
                )
                for key in keys
            ),
            loads=loads,
            seats=seats,
            hour=self.forecast.hour,
            lived_s=round(self.forecast.lived_s),
        )
