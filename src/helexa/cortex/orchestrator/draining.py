"""What a drain does to the models of a neuron: who takes over, and when they may leave. Pure.

    replica loaded elsewhere, or none needed ──► no new requests here
    as many elsewhere as must be             ──► unload here, after the requests that run

A needed model that nobody else can hold stays and goes on serving.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from helexa.cortex.orchestrator.circuit import CircuitState
from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.liveness import PRESENT, NeuronState
from helexa.cortex.orchestrator.snapshot import DesiredModel, FleetSnapshot, Instance, NeuronView
from helexa.protocol.control import UnloadModel
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState

_AT_REST: Final = frozenset({ModelState.UNLOADED, ModelState.UNLOADING})
CAUSE: Final = "its neuron is drained"


def successors(model_id: ModelId, neurons: Iterable[NeuronView]) -> int:
    """Return on how many neurons that stay a model is loaded and takes requests."""
    return sum(1 for neuron in neurons if _serves(neuron, model_id))


def _serves(neuron: NeuronView, model_id: ModelId) -> bool:
    instance = neuron.instances.get(model_id)
    return (
        instance is not None
        and instance.state is ModelState.LOADED
        and instance.circuit.state is not CircuitState.OPEN
        and neuron.state is NeuronState.CONNECTED
        and not neuron.draining
    )


def is_relieved(desired: DesiredModel | None, successor_count: int) -> bool:
    """Tell whether a draining neuron's replica is sent no more requests."""
    return successor_count > 0 or may_leave(desired, successor_count)


def may_leave(desired: DesiredModel | None, successor_count: int) -> bool:
    """Tell whether a model may be unloaded where it drains; `desired` is None where unneeded."""
    return desired is None or successor_count >= desired.replicas_min


def remains(instance: Instance) -> bool:
    """Tell whether a model still has, or will have, an engine on its neuron."""
    return instance.pending is not None or instance.state not in {
        ModelState.UNLOADED, ModelState.FAILED,
    } or instance.recovering  # fmt: skip


def unload_drained(snapshot: FleetSnapshot, neurons: list[NeuronView]) -> Iterator[Provision]:
    """Unload what may leave draining neurons, whoever had it loaded; configs are kept."""
    for neuron in neurons:
        if not neuron.draining or neuron.state is not NeuronState.CONNECTED:
            continue
        for model_id in sorted(neuron.instances):
            instance = neuron.instances[model_id]
            leaves = instance.state not in _AT_REST and instance.pending is None
            desired = snapshot.desired.get(model_id)
            if leaves and may_leave(desired, successors(model_id, neurons)):
                yield Provision(
                    neuron.descriptor.id, model_id, UnloadModel(model_id=model_id), CAUSE
                )


def is_drained(neuron: NeuronView) -> bool:
    """Tell whether nothing runs on a draining neuron any more, as far as it can be known."""
    if neuron.state not in PRESENT:
        return neuron.draining
    busy = neuron.load.active_requests + neuron.load.waiting_requests
    return neuron.draining and not busy and not any(map(remains, neuron.instances.values()))
