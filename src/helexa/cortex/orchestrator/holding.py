"""What one model on one neuron takes, and whether it counts as being there. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.snapshot import Instance, NeuronView
from helexa.protocol.control import LoadModel, UnloadModel
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState

_HOLDING: Final = frozenset({ModelState.LOADING, ModelState.LOADED, ModelState.UNLOADING})
UP: Final = frozenset({ModelState.LOADED, ModelState.LOADING})
_AWAY: Final = frozenset({NeuronState.GONE, NeuronState.UNCONFIRMED})
NEVER_S: Final = float("inf")
_HAIR_S: Final = 1e-6
"""`now - since >= span` and `now >= since + span` may differ by the rounding of a float."""


def booked_bytes(neuron: NeuronView, models: Mapping[ModelId, int]) -> int:
    """Return the memory that a neuron's models need or are about to need.

    `models` tells the need of models that the neuron itself has not measured.
    """
    total = 0
    for model_id, instance in neuron.instances.items():
        if occupies(instance):
            total += need_on(instance, models.get(model_id, 0))
    return total


def occupies(instance: Instance) -> bool:
    """Tell whether a model takes memory on its neuron, or is about to."""
    return instance.state in _HOLDING or instance.recovering or _is_coming(instance)


def rests(instance: Instance) -> bool:
    """Tell whether a model is loaded, and nothing is under way that would change that."""
    return instance.state is ModelState.LOADED and instance.pending is None


def measured(instance: Instance) -> int:
    """Return what a model was seen to need on its neuron; 0 while that is unknown."""
    return need_on(instance, 0)


def need_on(instance: Instance, elsewhere_bytes: int) -> int:
    """Return what a model needs on one neuron: its own figure, else that of other neurons."""
    status = instance.status
    if status is not None and status.capability is not None:
        own = status.capability.memory_bytes
        if own is not None:
            return own
    return elsewhere_bytes


def _is_coming(instance: Instance) -> bool:
    return instance.pending is not None and isinstance(instance.pending.command, LoadModel)


def is_leaving(instance: Instance) -> bool:
    """Tell whether a model was told to leave its neuron."""
    return instance.pending is not None and isinstance(instance.pending.command, UnloadModel)


def needs_of_models(neurons: Iterable[NeuronView]) -> dict[ModelId, int]:
    """Return each model's largest known need in bytes; a model nobody measured is absent."""
    needs: dict[ModelId, int] = {}
    for neuron in neurons:
        for model_id, instance in neuron.instances.items():
            need = measured(instance)
            if need:
                needs[model_id] = max(needs.get(model_id, 0), need)
    return needs


def is_awaited(neuron: NeuronView, now: float) -> bool:
    """Tell whether a neuron from before cortex's restart may still come back by itself."""
    return neuron.state is NeuronState.UNCONFIRMED and now - neuron.since_s < REPLACE_AFTER_S


def holds(neuron: NeuronView, model_id: ModelId, now: float) -> bool:
    """Tell whether a neuron has, or is about to have, a model; a second one would be too many."""
    instance = neuron.instances.get(model_id)
    if instance is None:
        return False
    if neuron.state in _AWAY:
        if now - neuron.since_s >= REPLACE_AFTER_S:
            return False
        return instance.state in UP
    if instance.pending is not None:
        return not is_leaving(instance)
    if instance.state in UP:
        return True
    return instance.recovering and instance.not_before_s > now


def holds_until_s(neuron: NeuronView, now: float) -> float:
    """Return until when, at the most, time alone leaves `holds` as it is for each of its models."""
    if neuron.state in _AWAY:
        if now - neuron.since_s >= REPLACE_AFTER_S:
            return NEVER_S
        return neuron.since_s + REPLACE_AFTER_S - _HAIR_S
    waits = (
        instance.not_before_s
        for instance in neuron.instances.values()
        if instance.recovering and instance.not_before_s > now
    )
    return min(waits, default=NEVER_S)
