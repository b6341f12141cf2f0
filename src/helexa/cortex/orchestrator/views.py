"""From neurons and wishes to what each model looks like across the fleet. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from helexa.cortex.orchestrator.board import Board, holds
from helexa.cortex.orchestrator.circuit import CLOSED, CircuitState, restricted_of
from helexa.cortex.orchestrator.demand import hardware_key
from helexa.cortex.orchestrator.draining import is_relieved
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.placement import Placement, place
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    Instance,
    ModelView,
    NeuronView,
    Outlook,
    Replica,
    frozen,
)
from helexa.protocol.control import UnloadModel
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelConfig

_ROUTABLE = frozenset({NeuronState.CONNECTED, NeuronState.SUSPECT})
_UNKNOWN = ModelCapability()


def model_views(
    desired: Mapping[ModelId, DesiredModel],
    neurons: Mapping[NeuronId, NeuronView],
    outlook: Outlook,
    now: float,
) -> dict[str, ModelView]:
    """Return every model that is wanted, or known to a neuron with its config, by id."""
    configs: dict[ModelId, ModelConfig] = {
        key: d.config for key, d in desired.items() if not d.demanded
    }
    where: dict[ModelId, list[tuple[NeuronView, Instance]]] = {key: [] for key in configs}
    for neuron in neurons.values():
        for model_id, instance in neuron.instances.items():
            status = instance.status
            if status is None:
                continue
            if model_id not in configs and status.config is not None:
                configs[model_id] = status.config
            where.setdefault(model_id, []).append((neuron, instance))
    plan = _Plan(neurons, desired, outlook, now)
    return {
        model_id: _view(config, desired.get(model_id), where.get(model_id, []), plan)
        for model_id, config in configs.items()
    }


def names_of(models: Mapping[str, ModelView]) -> dict[str, ModelId]:
    """Return every id and alias; an id beats an alias, and the first id in order has the alias."""
    names: dict[str, ModelId] = {}
    for model_id in sorted(models):
        for alias in models[model_id].config.aliases:
            names.setdefault(alias, models[model_id].config.id)
    for view in models.values():
        names[view.config.id] = view.config.id
    return names


class _Plan:
    """Where models could go; worked out only for a model that needs it."""

    def __init__(
        self,
        neurons: Mapping[NeuronId, NeuronView],
        desired: Mapping[ModelId, DesiredModel],
        outlook: Outlook,
        now: float,
    ) -> None:
        self.now = now
        self.desired = desired
        self.outlook = outlook
        self.neurons = [neurons[key] for key in sorted(neurons)]
        self._board: Board | None = None

    @property
    def board(self) -> Board:
        if self._board is None:
            self._board = Board(self.neurons, self.desired, self.outlook, self.now)
        return self._board

    def place(self, config: ModelConfig) -> Placement:
        model = self.desired.get(config.id) or DesiredModel(config, config.digest())
        return place(model, self.board, ever=True)


def _view(
    config: ModelConfig,
    wanted: DesiredModel | None,
    where: list[tuple[NeuronView, Instance]],
    plan: _Plan,
) -> ModelView:
    moves = any(neuron.draining for neuron, _ in where)
    relieved = moves and is_relieved(wanted, config.id, plan.neurons)
    replicas = _replicas(where, relieved=relieved)
    if all(replica.cordoned for replica in replicas):
        replicas = ()  # what serves it is on its way out: to callers it is not loaded
    view = ModelView(
        config=config,
        replicas=replicas,
        states=frozen({n.descriptor.id: i.state for n, i in where if n.connected}),
        capability=_capability(where),
        desired=wanted is not None,
        outdated=wanted is not None
        and any(
            i.status is not None and i.status.config_digest != wanted.digest
            for n, i in where
            if n.connected and i.state in {ModelState.LOADED, ModelState.LOADING}
        ),
        wanted=wanted.replicas if wanted is not None else 0,
        pinned=wanted is not None and wanted.rules.pinned,
    )
    if replicas:
        return view
    return _without_replicas(view, where, plan)


def _without_replicas(
    view: ModelView, where: list[tuple[NeuronView, Instance]], plan: _Plan
) -> ModelView:
    """Say why a model cannot be served now, and whether waiting helps."""
    loading, because, progress = _loading(view.config.id, plan)
    next_attempt_s: float | None = None
    loadable = unplaceable = False
    if not loading:
        vanished = [n for n, _ in where if not n.connected and holds(n, view.config.id, plan.now)]
        placement = plan.place(view.config)
        loadable = placement.neuron_id is not None
        next_attempt_s = placement.next_attempt_s
        unplaceable = not loadable and next_attempt_s is None and not vanished
        if vanished:
            gone = ", ".join(sorted(n.descriptor.id for n in vanished))
            because = f"its neuron {gone} is not connected"
        elif not loadable:
            because = placement.because()
        else:
            because = "an operator unloaded it" if _set_aside(view, plan) else "it is not loaded"
    return replace(
        view,
        loading=loading,
        ready_at_s=_ready_at_s(view.config, where, plan),
        progress=progress,
        because=because,
        unplaceable=unplaceable,
        loadable=loadable,
        next_attempt_s=next_attempt_s,
    )


def _set_aside(view: ModelView, plan: _Plan) -> bool:
    desired = plan.desired.get(view.config.id)
    return desired is not None and desired.set_aside


def _ready_at_s(
    config: ModelConfig, where: list[tuple[NeuronView, Instance]], plan: _Plan
) -> float | None:
    """Return when a load under way should be done, by what such loads took before."""
    times = []
    for neuron, instance in where:
        if instance.state is ModelState.LOADING and neuron.connected:
            hardware = hardware_key(neuron.capabilities.hardware)
            takes_s = plan.outlook.learned.load_time_s(config.id, config.engine, hardware)
            if takes_s is not None:
                times.append(instance.since_s + takes_s)
    return min(times, default=None)


HOPELESS_FROM: Final = 2
"""A first failure may be bad luck, and requests wait for the next try; from this many failures in
a row on, who waits is told the reason at once."""


def _loading(model_id: ModelId, plan: _Plan) -> tuple[bool, str, float | None]:
    """Tell whether a neuron is on the way to having the model: (yes, because, progress)."""
    found: tuple[bool, str, float | None] = (False, "", None)
    for neuron in plan.neurons:
        instance = neuron.instances.get(model_id)
        if instance is None or not neuron.connected:
            continue
        status, pending = instance.status, instance.pending
        name = neuron.descriptor.id
        if status is not None and status.state is ModelState.LOADING:
            return True, status.because or f"loading on {name}", status.progress
        failures = status.failures if status is not None else 0
        if instance.recovering and instance.not_before_s > plan.now and failures < HOPELESS_FROM:
            why = status.because if status is not None else ""
            found = True, f"recovering on {name}: {why}" if why else f"recovering on {name}", None
        elif pending is not None and not isinstance(pending.command, UnloadModel):
            found = True, f"{name} was told to load it", None
    if not found[0]:
        for neuron_id in sorted(plan.board.promised.get(model_id, ())):
            if plan.board.neuron(neuron_id).connected:
                return True, f"other models make room for it on {neuron_id}", None
    return found


def _replicas(where: list[tuple[NeuronView, Instance]], *, relieved: bool) -> tuple[Replica, ...]:
    """Return what may be sent requests; of those in use, not too many are out by their circuits."""
    loaded = [
        (neuron, instance)
        for neuron, instance in where
        if neuron.state in _ROUTABLE and instance.state is ModelState.LOADED
    ]
    restricted: set[NeuronId] = set()
    if any(instance.circuit is not CLOSED for _, instance in loaded):
        used = [(n, i) for n, i in loaded if not (n.draining and relieved)]
        places = restricted_of([i.circuit for _, i in used])
        restricted = {used[place][0].descriptor.id for place in places}
    return tuple(
        _replica(
            neuron,
            instance,
            cordoned=neuron.draining and relieved,
            restricted=neuron.descriptor.id in restricted,
        )
        for neuron, instance in loaded
    )


def _replica(
    neuron: NeuronView, instance: Instance, *, cordoned: bool, restricted: bool
) -> Replica:
    status = instance.status
    assert status is not None
    circuit = instance.circuit.state
    return Replica(
        model_id=status.model_id,
        neuron_id=neuron.descriptor.id,
        epoch=neuron.descriptor.epoch,
        capability=status.capability or _UNKNOWN,
        # A neuron's problems are not a replica's: another model that failed there, or a state
        # that could not be saved, keeps nobody from using the models that run.
        healthy=not (restricted and circuit is CircuitState.OPEN),
        probing=restricted and circuit is CircuitState.HALF_OPEN,
        suspect=neuron.suspect,
        cordoned=cordoned,
        active_requests=status.active_requests,
        waiting_requests=status.waiting_requests,
        circuit=circuit,
    )


def _capability(where: list[tuple[NeuronView, Instance]]) -> ModelCapability | None:
    """Return what the model can do, by the neuron that serves it, else by any that knows it."""
    best: ModelCapability | None = None
    for neuron, instance in where:
        status = instance.status
        if status is None or status.capability is None:
            continue
        if neuron.connected and status.state is ModelState.LOADED:
            return status.capability
        best = best or status.capability
    return best
