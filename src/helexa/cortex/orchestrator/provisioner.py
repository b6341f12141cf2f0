"""What must be asked of neurons so that what should run does run. Pure.

    reconcile(snapshot, now) -> commands

It looks at the whole fleet every time and remembers nothing: commands that are under way, waits
after failures and what this cortex owns are part of the snapshot. So a lost message is repaired
by a later call, and a call on a fleet that is as it should be returns nothing.

Rules
- One command at a time per model and neuron. A config goes first, then, once it is accepted, the
  load.
- What is held is left alone: a model that runs with an older config keeps running.
- A neuron that vanished counts as holding its models for REPLACE_AFTER_S.
- A draining neuron counts as holding nothing; what is needed goes elsewhere, then leaves it.
- Only what this cortex put somewhere, and nobody wants any more, is taken away.
"""

from collections.abc import Iterator

from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.draining import unload_drained
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.placement import (
    booked_bytes,
    need_on,
    needs_of_models,
    place,
)
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    FleetSnapshot,
    Instance,
    NeuronView,
)
from helexa.protocol.control import LoadModel, UnloadModel, UpsertModelConfig
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState

_ABSENT = Instance()


def holds(neuron: NeuronView, model_id: ModelId, now: float) -> bool:
    """Tell whether a neuron has, or is about to have, a model; a second one would be too many."""
    instance = neuron.instances.get(model_id)
    if instance is None:
        return False
    if neuron.state in {NeuronState.GONE, NeuronState.UNCONFIRMED}:
        if now - neuron.since_s >= REPLACE_AFTER_S:
            return False
        return instance.state in {ModelState.LOADED, ModelState.LOADING}
    if instance.pending is not None and not isinstance(instance.pending.command, UnloadModel):
        return True
    if instance.state in {ModelState.LOADED, ModelState.LOADING}:
        return True
    return instance.recovering and instance.not_before_s > now


def reconcile(snapshot: FleetSnapshot, now: float) -> list[Provision]:
    """Return the commands that bring the fleet nearer to what is desired; none when it is there."""
    neurons = [snapshot.neurons[key] for key in sorted(snapshot.neurons)]
    staying = [n for n in neurons if not n.draining]
    needs = needs_of_models(neurons)
    booked = {n.descriptor.id: booked_bytes(n, needs) for n in neurons}
    commands: list[Provision] = []
    for model_id in sorted(snapshot.desired):
        desired = snapshot.desired[model_id]
        commands.extend(_update_configs(desired, neurons, now))
        others = [n for n in staying if not holds(n, model_id, now)]
        for _ in range(desired.replicas_min - (len(staying) - len(others))):
            command = _one_more(desired, others, booked, needs, now)
            if command is None:
                break
            commands.append(command)
            others = [n for n in others if n.descriptor.id != command.neuron_id]
    commands.extend(_take_away(snapshot, staying))
    commands.extend(unload_drained(snapshot, neurons))
    return commands


def _one_more(
    desired: DesiredModel,
    others: list[NeuronView],
    booked: dict[NeuronId, int],
    needs: dict[ModelId, int],
    now: float,
) -> Provision | None:
    """Choose a neuron for one more replica and book its memory; the first step towards it."""
    config = desired.config
    free_to_choose = [n for n in others if not _is_busy(n.instances.get(config.id, _ABSENT))]
    neuron_id = place(config, free_to_choose, booked, needs, now).neuron_id
    if neuron_id is None:
        return None
    neuron = next(n for n in free_to_choose if n.descriptor.id == neuron_id)
    instance = neuron.instances.get(config.id, _ABSENT)
    booked[neuron_id] += need_on(instance, needs.get(config.id, 0))
    if instance.known_digest != desired.digest:
        return Provision(neuron_id, config.id, UpsertModelConfig(config=config), desired.cause)
    return Provision(neuron_id, config.id, LoadModel(model_id=config.id), desired.cause)


def _is_busy(instance: Instance) -> bool:
    return instance.pending is not None or instance.state is ModelState.UNLOADING


def _update_configs(
    desired: DesiredModel, neurons: list[NeuronView], now: float
) -> Iterator[Provision]:
    """Tell neurons that hold the model its newer config; it is used at the next load."""
    if desired.demanded:
        return
    for neuron in neurons:
        instance = neuron.instances.get(desired.config.id)
        if (
            instance is not None
            and neuron.state is NeuronState.CONNECTED
            and instance.pending is None
            and instance.not_before_s <= now
            and instance.state in {ModelState.LOADED, ModelState.LOADING}
            and instance.known_digest != desired.digest
        ):
            yield Provision(
                neuron.descriptor.id,
                desired.config.id,
                UpsertModelConfig(config=desired.config),
                desired.cause,
            )


def _take_away(snapshot: FleetSnapshot, neurons: list[NeuronView]) -> Iterator[Provision]:
    for neuron in neurons:
        if neuron.state is not NeuronState.CONNECTED:
            continue
        for model_id in sorted(neuron.instances):
            instance = neuron.instances[model_id]
            if (
                instance.owned
                and instance.pending is None
                and model_id not in snapshot.desired
                and instance.status is not None
                and instance.state is not ModelState.UNLOADING
            ):
                yield Provision(
                    neuron.descriptor.id,
                    model_id,
                    UnloadModel(model_id=model_id, forget=True),
                    "no longer wanted",
                )
