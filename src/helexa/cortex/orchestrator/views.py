"""From neurons and wishes to what each model looks like across the fleet. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from helexa.cortex.orchestrator.accounts import Accounts
from helexa.cortex.orchestrator.circuit import CLOSED, CircuitState, restricted_of
from helexa.cortex.orchestrator.demand import hardware_key
from helexa.cortex.orchestrator.draining import is_relieved
from helexa.cortex.orchestrator.holding import holds
from helexa.cortex.orchestrator.ledger import Ledger
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.neurons import Neuron
from helexa.cortex.orchestrator.picture import Picture, Where
from helexa.cortex.orchestrator.snapshot import (
    EMPTY,
    FleetSnapshot,
    Instance,
    ModelView,
    NeuronView,
    Outlook,
    Replica,
    frozen,
    thawed,
)
from helexa.cortex.orchestrator.wishes import Wishes
from helexa.protocol.control import LoadModel
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus
from helexa.protocol.version import VERSION_CONTINUES

_ROUTABLE = frozenset({NeuronState.CONNECTED, NeuronState.SUSPECT})
_UNKNOWN = ModelCapability()


def next_snapshot(
    last: FleetSnapshot,
    neurons: Mapping[NeuronId, Neuron],
    wishes: Wishes,
    ledger: Ledger,
    accounts: Accounts,
    now: float,
    *,
    everything: bool,
) -> FleetSnapshot:
    """Return the snapshot after the last one, with what the ledger names (or all) made anew."""
    accounts.touch(ledger.accounts)
    views = thawed(last.neurons)
    for key in sorted(ledger.neurons):
        if key in neurons:
            views[key] = neurons[key].view()
        else:
            views.pop(key, None)
    plans = everything or ledger.plan
    desired, models, names = last.desired, last.models, last.names
    if plans:
        wishes.resize(last.models, now)
        desired = wishes.desired(last.models)
        ledger.models |= wishes.take_reseated()
    outlook = wishes.outlook() if plans or ledger.demand else last.outlook
    if plans or ledger.models or ledger.loads:
        picture = Picture(desired, views, ledger.holders, outlook, accounts, now)
        models = changed_views(picture, last, ledger, everything=everything)
        names = names_of(models, last)
        if not desired.keys() <= models.keys():  # asked for, and nobody knows it any more
            desired = {key: each for key, each in desired.items() if key in models}
    ledger.clear()
    return FleetSnapshot(
        version=last.version + 1,
        plan=last.plan + plans,
        taken_s=now,
        models=frozen(models) if isinstance(models, dict) else models,
        names=names,
        neurons=frozen(views),
        default_models=last.default_models,
        desired=frozen(desired) if isinstance(desired, dict) else desired,
        outlook=outlook,
    )


def changed_views(
    picture: Picture, last: FleetSnapshot, ledger: Ledger, *, everything: bool
) -> Mapping[str, ModelView]:
    """Return every model that is wanted, or known to a neuron with its config, by id.

    A view that nothing changed for is the last snapshot's own, and so is the whole where nothing
    changed for any.
    """
    stale: set[ModelId] = set(ledger.models)
    if everything:
        stale.update(picture.desired, picture.holders)
        stale.update(view.config.id for view in last.models.values())
    elif ledger.plan:
        stale.update(view.config.id for view in last.models.values() if not view.replicas)
        if picture.desired != last.desired:
            both = picture.desired.keys() | last.desired.keys()
            stale.update(k for k in both if picture.desired.get(k) != last.desired.get(k))
    if not stale and not ledger.loads:
        return last.models
    models: dict[str, ModelView] = thawed(last.models)
    for model_id in sorted(stale):
        view = _model_view(model_id, picture)
        if view is not None:
            models[model_id] = view
        else:
            models.pop(model_id, None)
    for model_id, neuron_id in sorted(ledger.loads):
        if model_id in models and model_id not in stale:
            models[model_id] = _with_load(models[model_id], picture.neurons[neuron_id])
    return models


def names_of(models: Mapping[str, ModelView], last: FleetSnapshot = EMPTY) -> Mapping[str, ModelId]:
    """Return every id and alias; an id beats an alias, and the first id in order has the alias.

    They are those of the last snapshot where its models have the same configs.
    """
    before = last.models
    if models is before or (
        models.keys() == before.keys()
        and all(
            view is before[key] or view.config is before[key].config for key, view in models.items()
        )
    ):
        return last.names
    names: dict[str, ModelId] = {}
    for model_id in sorted(models):
        for alias in models[model_id].config.aliases:
            names.setdefault(alias, models[model_id].config.id)
    for view in models.values():
        names[view.config.id] = view.config.id
    return frozen(names)


def _with_load(view: ModelView, neuron: NeuronView) -> ModelView:
    """Return the view with what a neuron last said of its requests."""
    neuron_id = neuron.descriptor.id
    for place_, replica in enumerate(view.replicas):
        if replica.neuron_id == neuron_id:
            status = neuron.instances[replica.model_id].status
            active = status.active_requests if status is not None else 0
            waiting = status.waiting_requests if status is not None else 0
            if (active, waiting) == (replica.active_requests, replica.waiting_requests):
                return view
            replicas = list(view.replicas)
            replicas[place_] = replace(replica, active_requests=active, waiting_requests=waiting)
            return replace(view, replicas=tuple(replicas))
    return view


def _model_view(model_id: ModelId, picture: Picture) -> ModelView | None:
    """Return one model across the fleet; None where nobody wants it or knows its config."""
    view = serving_view(model_id, picture)
    if view is None or view.replicas:
        return view
    return _without_replicas(view, picture.where(model_id), picture)


def serving_view(model_id: ModelId, picture: Picture) -> ModelView | None:
    """Return a model's view without what it says of a model that cannot be served now."""
    wanted, instances = picture.desired.get(model_id), picture.where(model_id)
    where = [(neuron, instance) for neuron, instance in instances if instance.status is not None]
    told = (i.status.config for _, i in where if i.status is not None)
    config = wanted.config if wanted is not None and not wanted.demanded else None
    config = config or next((each for each in told if each is not None), None)
    if config is None:
        return None
    moves = any(neuron.draining for neuron, _ in where)
    relieved = moves and is_relieved(wanted, model_id, [neuron for neuron, _ in instances])
    replicas = _replicas(where, picture.outlook, relieved=relieved)
    if all(replica.cordoned for replica in replicas):
        replicas = ()  # what serves it is on its way out: to callers it is not loaded
    return ModelView(
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
        lent=any(i.lent and i.state is ModelState.LOADED for _, i in where),
    )


def _without_replicas(view: ModelView, instances: Where, picture: Picture) -> ModelView:
    """Say why a model cannot be served now, and whether waiting helps."""
    expected: list[NeuronId] = []
    loading, because, progress = _loading(view.config.id, instances, picture)
    next_attempt_s: float | None = None
    loadable = unplaceable = False
    if not loading:
        vanished = [
            n for n, _ in instances if not n.connected and holds(n, view.config.id, picture.now)
        ]
        placement = picture.place(view.config)
        loadable = placement.neuron_id is not None
        next_attempt_s = placement.next_attempt_s
        expected = picture.expected_on(view.config) if not loadable else []
        unplaceable = not (loadable or next_attempt_s is not None or vanished or expected)
        if expected:
            because = f"waits for {', '.join(expected)}, which is not back since cortex restarted"
        elif vanished:
            gone = ", ".join(sorted(n.descriptor.id for n in vanished))
            because = f"its neuron {gone} is not connected"
        elif not loadable:
            because = placement.because()
        else:
            because = "an operator unloaded it" if _set_aside(view, picture) else "it is not loaded"
    return replace(
        view,
        loading=loading,
        ready_at_s=_ready_at_s(view.config, instances, picture),
        progress=progress,
        because=because,
        unplaceable=unplaceable,
        loadable=loadable,
        next_attempt_s=next_attempt_s,
        expected=bool(expected),
    )


def _set_aside(view: ModelView, picture: Picture) -> bool:
    desired = picture.desired.get(view.config.id)
    return desired is not None and desired.set_aside


def _ready_at_s(config: ModelConfig, instances: Where, picture: Picture) -> float | None:
    """Return when a load under way should be done, by what such loads took before."""
    times = []
    for neuron, instance in instances:
        if instance.state is ModelState.LOADING and neuron.connected:
            hardware = hardware_key(neuron.capabilities.hardware)
            takes_s = picture.outlook.learned.load_time_s(config.id, config.engine, hardware)
            if takes_s is not None:
                times.append(instance.since_s + takes_s)
    return min(times, default=None)


HOPELESS_FROM: Final = 2
"""A first failure may be bad luck, and requests wait for the next try; from this many failures in
a row on, who waits is told the reason at once."""


def _loading(
    model_id: ModelId, instances: Where, picture: Picture
) -> tuple[bool, str, float | None]:
    """Tell whether a neuron is on the way to having the model: (yes, because, progress)."""
    found: tuple[bool, str, float | None] = (False, "", None)
    desired = picture.desired.get(model_id)
    comes = desired is not None and desired.replicas > 0
    for neuron, instance in instances:
        if not neuron.connected:
            continue
        status, pending = instance.status, instance.pending
        name = neuron.descriptor.id
        if status is not None and status.state is ModelState.LOADING:
            return True, status.because or f"loading on {name}", status.progress
        failures = status.failures if status is not None else 0
        if instance.recovering and instance.not_before_s > picture.now and failures < HOPELESS_FROM:
            why = status.because if status is not None else ""
            found = True, f"recovering on {name}: {why}" if why else f"recovering on {name}", None
        elif pending is not None and (isinstance(pending.command, LoadModel) or comes):
            found = True, f"{name} was told to load it", None
    if not found[0]:
        for neuron_id in sorted(picture.board.promised.get(model_id, ())):
            if picture.board.neuron(neuron_id).connected:
                return True, f"other models make room for it on {neuron_id}", None
    return found


def _replicas(where: Where, outlook: Outlook, *, relieved: bool) -> tuple[Replica, ...]:
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
            neuron, instance, outlook,
            cordoned=neuron.draining and relieved, restricted=neuron.descriptor.id in restricted,
        )
        for neuron, instance in loaded
    )  # fmt: skip


def _replica(
    neuron: NeuronView,
    instance: Instance,
    outlook: Outlook,
    *,
    cordoned: bool,
    restricted: bool,
) -> Replica:
    status = instance.status
    assert status is not None
    circuit = instance.circuit.state
    capability = _usable(status.capability or _UNKNOWN, neuron.version)
    return Replica(
        model_id=status.model_id,
        neuron_id=neuron.descriptor.id,
        epoch=neuron.descriptor.epoch,
        capability=capability,
        # A neuron's problems are not a replica's: another model that failed there, or a state
        # that could not be saved, keeps nobody from using the models that run.
        healthy=not (restricted and circuit is CircuitState.OPEN),
        probing=restricted and circuit is CircuitState.HALF_OPEN,
        suspect=neuron.suspect,
        cordoned=cordoned,
        active_requests=status.active_requests,
        waiting_requests=status.waiting_requests,
        circuit=circuit,
        dialects=neuron.capabilities.dialects,
        useful_seats=_useful_seats(neuron, status, capability.seats, outlook),
        connection=neuron.connection,
    )


def _usable(capability: ModelCapability, version: int) -> ModelCapability:
    """Return what can be asked for in this version of the protocol."""
    old = capability.resume and version < VERSION_CONTINUES
    return msgspec.structs.replace(capability, resume=False) if old else capability


def _useful_seats(
    neuron: NeuronView, status: ModelStatus, reported: int, outlook: Outlook
) -> int | None:
    """Return how many seats were learned to be of use; None where all that are reported are."""
    if status.config is None or not outlook.learned.useful:
        return None
    key = (status.model_id, status.config.engine, hardware_key(neuron.capabilities.hardware))
    seats = outlook.learned.seats(key, reported, outlook.policy.learned_seats_min)
    return seats if seats < reported else None


def _capability(where: Where) -> ModelCapability | None:
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
