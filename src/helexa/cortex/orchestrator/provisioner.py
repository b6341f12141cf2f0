"""What must be asked of neurons so that what should run does run. Pure.

    reconcile(snapshot, now) -> commands

It looks at the whole fleet every time and remembers nothing: commands that are under way, waits
after failures and what this cortex owns are part of the snapshot. So a lost message is repaired
by a later call, and a call on a fleet that is as it should be returns nothing.

Rules
- One command at a time per model and neuron. A config goes first, then, once it is accepted, the
  load. What a neuron refused is not asked of it again at once.
- Who needs a replica most is served first: what is there by forecast alone after all others, by
  class, then who is short of `min_replicas` that were asked for, then who is waited for, then what
  was asked for most in the last hour, then weight. So hot models are loaded first after a start.
- A config that no neuron has is given to one, so that it is known what the model can do.
- What is held is left alone: a model that runs with an older config keeps running.
- A neuron that vanished counts as holding its models for REPLACE_AFTER_S.
- A draining neuron counts as holding nothing; what is needed goes elsewhere, then leaves it.
- Where nothing is free, models make room by the rule of `retention`; the newcomer has their place
  reserved from then on.
- Replicas too many leave, the least used first, those on cordoned neurons before all others.
- Only what this cortex put somewhere, and nobody wants any more, is taken away for good. What it
  loaded on request by a neuron's own config is unloaded after the default keep-alive.
"""

from collections.abc import Iterator
from typing import Final

from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.draining import unload_drained
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.placement import place, places
from helexa.cortex.orchestrator.policy import SURPLUS_S
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    FleetSnapshot,
    Instance,
    NeuronView,
    Outlook,
)
from helexa.protocol.control import LoadModel, UnloadModel, UpsertModelConfig
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState

_ABSENT: Final = Instance()


def reconcile(snapshot: FleetSnapshot, now: float) -> list[Provision]:
    """Return the commands that bring the fleet nearer to what is desired; none when it is there."""
    board = Board.of(snapshot, now)
    commands: list[Provision] = []
    for desired in by_need(snapshot, board):
        commands.extend(_update_configs(desired, board))
        commands.extend(_more(desired, board))
        commands.extend(_fewer(desired, board))
        commands.extend(_tell(desired, snapshot, board))
    commands.extend(_take_away(snapshot, board))
    commands.extend(unload_drained(board))
    return [command for command in commands if not _is_refused_yet(command, board)]


def _is_refused_yet(provision: Provision, board: Board) -> bool:
    """Tell whether a neuron said no to an unload a moment ago. Loads wait by their place."""
    instance = board.neuron(provision.neuron_id).instances.get(provision.model_id, _ABSENT)
    is_unload = isinstance(provision.command, UnloadModel)
    return is_unload and instance.refusals > 0 and instance.not_before_s > board.now


def by_need(snapshot: FleetSnapshot, board: Board | None = None) -> list[DesiredModel]:
    """Return what is desired in the order in which it gets what is free."""
    outlook = snapshot.outlook
    board = board if board is not None else Board.of(snapshot, snapshot.taken_s)
    return sorted(snapshot.desired.values(), key=lambda model: _need(model, outlook, board))


def _need(
    model: DesiredModel, outlook: Outlook, board: Board
) -> tuple[bool, float, bool, bool, float, float, ModelId]:
    demand = outlook.demand.get(model.config.id)
    per_hour = round(demand.requests[-1] * 3600.0) if demand is not None else 0
    return (
        0 < model.ahead >= model.replicas - len(board.holders.get(model.config.id, ())),
        -float(model.rules.priority),
        # It may displace others for this, so it comes before them, too: else who was displaced
        # takes the room back at once, for ever.
        not board.newcomer(model).short,
        model.waiting_since_s is None,
        -float(per_hour),
        -model.rules.weight,
        model.config.id,
    )


def _more(desired: DesiredModel, board: Board) -> Iterator[Provision]:
    """Load what is missing where there is room, or tell others to make room for it."""
    model_id = desired.config.id
    holders = board.holders.get(model_id, set())
    missing = desired.replicas - sum(not board.neuron(key).draining for key in holders)
    if missing <= 0:
        return
    among = [n for n in board.neurons if not _is_taken(n, model_id, board)]
    for verdict in places(desired, board, among, missing):
        neuron = board.neuron(verdict.neuron_id)
        if verdict.evicts:
            yield from _make_room(desired, neuron, verdict.evicts, board)
        else:
            board.book(neuron, model_id)
            yield _first_step(desired, neuron)


def _is_taken(neuron: NeuronView, model_id: ModelId, board: Board) -> bool:
    """Tell whether a neuron has the model, or is at something with it that must end first."""
    instance = neuron.instances.get(model_id, _ABSENT)
    return board.has(neuron, model_id) or _is_busy(instance)


def _first_step(desired: DesiredModel, neuron: NeuronView) -> Provision:
    config, neuron_id = desired.config, neuron.descriptor.id
    known = neuron.instances.get(config.id, _ABSENT).known_digest
    if known != desired.digest:
        return Provision(neuron_id, config.id, UpsertModelConfig(config=config), desired.cause)
    return Provision(neuron_id, config.id, LoadModel(model_id=config.id), desired.cause)


def _make_room(
    desired: DesiredModel, neuron: NeuronView, leaving: tuple[ModelId, ...], board: Board
) -> Iterator[Provision]:
    model_id = desired.config.id
    board.reserve(neuron, model_id, sum(board.leave(neuron, other) for other in leaving))
    for other in leaving:
        yield Provision(
            neuron.descriptor.id,
            other,
            UnloadModel(model_id=other),
            f"makes room for {model_id}",
            makes_room_for=model_id,
        )


def _fewer(desired: DesiredModel, board: Board) -> Iterator[Provision]:
    """Unload replicas too many. Only those count as too many that have others beside them."""
    model_id = desired.config.id
    serving = [
        neuron
        for neuron in (board.neuron(key) for key in sorted(board.holders.get(model_id, ())))
        if neuron.state is NeuronState.CONNECTED and not neuron.draining
        if _rests(neuron.instances.get(model_id, _ABSENT))
    ]
    surplus = len(serving) - desired.replicas
    if surplus <= 0 or desired.demanded:
        return
    settled_s = max(max(n.since_s, n.instances[model_id].since_s) for n in serving)
    if desired.replicas > 0 and board.now - settled_s < SURPLUS_S:
        return
    serving.sort(key=lambda n: _use_of(n, model_id))
    because = desired.because or "more replicas than are wanted"
    for neuron in serving[:surplus]:
        board.leave(neuron, model_id)
        yield Provision(neuron.descriptor.id, model_id, UnloadModel(model_id=model_id), because)


def _rests(instance: Instance) -> bool:
    return instance.state is ModelState.LOADED and instance.pending is None


def _use_of(neuron: NeuronView, model_id: ModelId) -> tuple[bool, int, float, str]:
    instance = neuron.instances[model_id]
    status = instance.status
    requests = status.active_requests + status.waiting_requests if status is not None else 0
    return (not neuron.cordoned, requests, -instance.since_s, neuron.descriptor.id)


def _is_busy(instance: Instance) -> bool:
    return instance.pending is not None or instance.state is ModelState.UNLOADING


def _update_configs(desired: DesiredModel, board: Board) -> Iterator[Provision]:
    """Tell neurons that hold the model its newer config; it is used at the next load."""
    if desired.demanded:
        return
    for key in sorted(board.holders.get(desired.config.id, ())):
        neuron = board.neuron(key)
        instance = neuron.instances.get(desired.config.id)
        if (
            instance is not None
            and neuron.state is NeuronState.CONNECTED
            and instance.pending is None
            and instance.not_before_s <= board.now
            and instance.state in {ModelState.LOADED, ModelState.LOADING}
            and instance.known_digest != desired.digest
        ):
            yield Provision(
                neuron.descriptor.id,
                desired.config.id,
                UpsertModelConfig(config=desired.config),
                desired.cause,
            )


def _tell(desired: DesiredModel, snapshot: FleetSnapshot, board: Board) -> Iterator[Provision]:
    """Give the config of a model that nobody has asked for yet to one neuron that may take it.

    It reads the header of its weights, where they are there, and reports what the model can do.
    """
    model_id = desired.config.id
    view = snapshot.models.get(model_id)
    if desired.demanded or desired.replicas or desired.set_aside:
        return
    if view is None or view.states or view.expected or not board.is_quiet(model_id):
        return
    neuron_id = place(desired, board, ever=True).neuron_id
    if neuron_id is not None:
        upsert = UpsertModelConfig(config=desired.config)
        yield Provision(neuron_id, model_id, upsert, "what can it do?")


def _take_away(snapshot: FleetSnapshot, board: Board) -> Iterator[Provision]:
    """Unload what nobody names any more: what is ours for good, what was lent once it is idle."""
    for neuron in board.neurons:
        if neuron.state is not NeuronState.CONNECTED or neuron.draining:
            continue
        for model_id in sorted(neuron.instances):
            instance = neuron.instances[model_id]
            if (
                (instance.owned or instance.lent)
                and instance.pending is None
                and not board.leaves(neuron, model_id)
                and model_id not in snapshot.desired
                and instance.status is not None
                and instance.state is not ModelState.UNLOADING
            ):
                because = "no longer wanted" if instance.owned else _idle(instance, model_id, board)
                if because:
                    unload = UnloadModel(model_id=model_id, forget=instance.owned)
                    yield Provision(neuron.descriptor.id, model_id, unload, because)


def _idle(instance: Instance, model_id: ModelId, board: Board) -> str:
    """Say for how long a lent model has been idle; empty where it is to stay."""
    keep_alive_s, idle_s = board.outlook.policy.keep_alive_s, board.idle_s(instance, model_id)
    stays = keep_alive_s is None or idle_s < keep_alive_s
    return "" if stays or not _rests(instance) else f"idle for {idle_s:.0f} s"
