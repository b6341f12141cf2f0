"""What should run: the configured models, what is asked of them, and how many of each. Pure.

The spec and the config say what may be (`configure`); requests, operators and what was learned
say how much of it there is now. A model that only a neuron knows is desired while a request waits
for it.
"""

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
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.remembered import (
    DemandMemory,
    learned_of,
    remembered_model,
    restored_demand,
)
from helexa.cortex.orchestrator.rules import DEFAULT_RULES, ModelRules
from helexa.cortex.orchestrator.sizing import DEMAND_S, Load, Scale, first_scale
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    Instance,
    ModelView,
    NeuronView,
    Outlook,
    frozen,
)
from helexa.cortex.orchestrator.useful_seats import Achieved
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import HardwareReport

Wish = DesiredChanged | ModelWanted | ModelUnwanted | ModelPinned | DemandSampled | DemandRestored
SETTLED_S: Final = 10.0
"""How often it is decided how many seats are of use."""
ACHIEVED_MAX: Final = 4096
"""What replicas achieved that is kept from one tick to the next."""


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
        self._settled_s = 0.0
        self._achieved: list[tuple[ModelId, Achieved]] = []
        self._reseated: set[ModelId] = set()
        self.configured: dict[ModelId, DesiredModel] = {}
        self.demand = DemandState()

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
                self._reseated.update(model_id for model_id, _, _ in self.demand.useful)
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
        for sample in event.samples:
            if sample.waiting:
                self._set_aside.discard(sample.model_id)
            if len(self._achieved) < ACHIEVED_MAX:
                self._achieved += ((sample.model_id, each) for each in sample.achieved)
        return any(not sample.is_empty for sample in event.samples)

    def _restore(self, memory: DemandMemory, away_s: float, now: float) -> None:
        self.demand = restored_demand(memory, now, away_s)
        for each in memory.models:
            self._scales[each.model_id] = Scale(each.replicas, because="as before the restart")
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
        self._observe(models, neurons, now)
        before = {key: scale.replicas for key, scale in self._scales.items()}
        self.resize(models, now)
        if old or before != {key: scale.replicas for key, scale in self._scales.items()}:
            return True
        if any(view.lent and self._may_be_idle(view.config.id, now) for view in models.values()):
            return True
        # Who waits long enough may displace somebody, who is in use falls idle, and a replica too
        # many may leave: while a model has not what it should have, every tick is planned.
        return bool(self._reseated) or any(
            self._is_waited_for(key) or len(models[key].replicas) != scale.replicas
            for key, scale in self._scales.items()
            if key in models
        )

    def _may_be_idle(self, model_id: ModelId, now: float) -> bool:
        """Tell whether a lent model may have been idle for long enough to leave."""
        keep_alive_s, demand = self._policy.keep_alive_s, self.demand.models.get(model_id)
        return keep_alive_s is not None and (demand is None or demand.idle_s(now) >= keep_alive_s)

    def resize(self, models: Mapping[str, ModelView], now: float) -> None:
        """Work out how many replicas of each configured model there should be."""
        scales: dict[ModelId, Scale] = {}
        for model_id, desired in self.configured.items():
            load = self._load(desired, models.get(model_id), now)
            rules = self._rules(desired)
            before = self._scales.get(model_id) or first_scale(load.loaded, rules)
            if model_id in self._set_aside:
                scales[model_id] = Scale(0, because="an operator unloaded it")
                continue
            after = self._strategy.resize(before, load, rules, self._policy, now)
            count = min(max(after.replicas, rules.floor), rules.ceiling())
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

    def _is_waited_for(self, model_id: ModelId) -> bool:
        demand = self.demand.models.get(model_id)
        waits = demand is not None and demand.waiting > 0
        return waits or model_id in self._demanded

    def _observe(
        self, models: Mapping[str, ModelView], neurons: Mapping[NeuronId, NeuronView], now: float
    ) -> None:
        """Learn how many requests at a time are of use, from what replicas achieved."""
        achieved, self._achieved = self._achieved, []
        for model_id, each in achieved:
            view, neuron = models.get(model_id), neurons.get(each.neuron_id)
            replicas = view.replicas if view is not None else ()
            replica = next((r for r in replicas if r.neuron_id == each.neuron_id), None)
            if view is not None and neuron is not None and replica is not None:
                key = (model_id, view.config.engine, hardware_key(neuron.capabilities.hardware))
                # Those past its engine's seats wait in the neuron's own line.
                at_work = min(each.concurrency, float(replica.capability.seats))
                speed = at_work * each.stream_tokens_per_s
                self.demand.worked(key, at_work, speed, each.requests)
        if now - self._settled_s >= SETTLED_S:
            self._settled_s = now
            self._reseated |= self.demand.settle(least=self._policy.learned_seats_min, now=now)

    def take_reseated(self) -> set[ModelId]:
        """Return the models whose replicas are given more or fewer seats since the last call."""
        reseated, self._reseated = self._reseated, set()
        return reseated

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
        scale = self._scales.get(model_id, Scale(0))
        asked = self._demanded.get(model_id)
        return replace(
            model,
            replicas=scale.replicas,
            cause=asked[2] if asked is not None else model.cause,
            rules=self._rules(model),
            waiting_since_s=self._waiting_since_s(model_id),
            because=scale.because,
            set_aside=model_id in self._set_aside,
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
        )

    def _learned(self) -> Learned:
        return Learned(self.demand.load_s, self.demand.useful)

    def memory(self, now: float, wall_s: float) -> DemandMemory:
        """Return what is worth keeping over a restart."""
        self.demand.retain(self.configured, now)
        keys = sorted(self.demand.models.keys() | self._pinned | self._set_aside)
        loads, seats = learned_of(self.demand)
        return DemandMemory(
            wall_s=wall_s,
            models=tuple(
                remembered_model(
                    key,
                    self.demand.of(key, now),
                    now,
                    replicas=self._scales.get(key, Scale(0)).replicas,
                    pinned=key in self._pinned,
                    set_aside=key in self._set_aside,
                )
                for key in keys
            ),
            loads=loads,
            seats=seats,
        )
