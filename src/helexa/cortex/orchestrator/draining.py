"""What a drain does to the models of a neuron: who takes over, and when they may leave. Pure.

    replica loaded elsewhere, or none needed ──► no new requests here
    as many elsewhere as must be             ──► unload here, after the requests that run

What must be there (`min_replicas`) and fits nowhere else stays and goes on serving. What is only
in use waits for its successor where one is on the way, and leaves at once where none is.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.circuit import CircuitState
from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.liveness import PRESENT, NeuronState
from helexa.cortex.orchestrator.snapshot import DesiredModel, Instance, NeuronView
from helexa.protocol.control import UnloadModel
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState

_AT_REST: Final = frozenset({ModelState.UNLOADED, ModelState.UNLOADING})
CAUSE: Final = "its neuron is drained"
DRAIN_S: Final = 3600.0
"""How long the requests of a drained neuron may take: nobody waits for its memory."""


def successors(model_id: ModelId, neurons: Iterable[NeuronView]) -> int:
    """Return on how many neurons that stay a model is loaded and takes requests."""
    return sum(1 for neuron in neurons if _serves(neuron, model_id))


def _serves(neuron: NeuronView, model_id: ModelId) -> bool:
    instance = neuron.instances.get(model_id)
    return (
        instance is not None
        and instance.state is ModelState.LOADED
        and instance.circuit.state is not CircuitState.OPEN
        and _stays(neuron)
    )


def _stays(neuron: NeuronView) -> bool:
    return neuron.state is NeuronState.CONNECTED and not neuron.draining


def required(desired: DesiredModel | None) -> int:
    """Return how many replicas there must be elsewhere before one leaves."""
    return min(desired.replicas, desired.rules.floor) if desired is not None else 0


def _may_leave(desired: DesiredModel | None, successor_count: int, *, coming: bool) -> bool:
    return successor_count >= required(desired) and (successor_count > 0 or not coming)


def is_relieved(
    desired: DesiredModel | None, model_id: ModelId, neurons: Iterable[NeuronView]
) -> bool:
    """Tell whether replicas of a model on draining neurons are sent no more requests."""
    staying = [neuron for neuron in neurons if _stays(neuron)]
    count = successors(model_id, staying)
    coming = any(_is_coming(neuron.instances.get(model_id)) for neuron in staying)
    return count > 0 or _may_leave(desired, count, coming=coming)


def _is_coming(instance: Instance | None) -> bool:
    if instance is None:
        return False
    if instance.pending is not None:
        return not isinstance(instance.pending.command, UnloadModel)
    return instance.state is ModelState.LOADING


def remains(instance: Instance) -> bool:
    """Tell whether a model still has, or will have, an engine on its neuron."""
    if instance.pending is not None or instance.recovering:
        return True
    return instance.state not in {ModelState.UNLOADED, ModelState.FAILED}


def unload_drained(board: Board) -> Iterator[Provision]:
    """Unload what may leave draining neurons, whoever had it loaded; configs are kept.

    `board` knows what this very reconcile is about to load elsewhere.
    """
    for neuron in map(board.neuron, sorted(board.accounts.draining)):
        if neuron.state is not NeuronState.CONNECTED:
            continue
        for model_id in sorted(neuron.instances):
            instance = neuron.instances[model_id]
            if instance.state in _AT_REST or instance.pending is not None:
                continue
            count = successors(model_id, board.having(model_id))
            coming = any(_stays(board.neuron(key)) for key in board.holders.get(model_id, ()))
            if _may_leave(board.desired.get(model_id), count, coming=coming):
                command = UnloadModel(model_id=model_id, drain_s=DRAIN_S)
                yield Provision(neuron.descriptor.id, model_id, command, CAUSE)


def is_drained(neuron: NeuronView) -> bool:
    """Tell whether nothing runs on a draining neuron any more, as far as it can be known."""
    if neuron.state not in PRESENT:
        return neuron.draining
    busy = neuron.load.active_requests + neuron.load.waiting_requests
    return neuron.draining and not busy and not any(map(remains, neuron.instances.values()))
