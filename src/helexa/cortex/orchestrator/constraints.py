"""What keeps a model off a neuron, apart from memory: a funnel of small rules. Pure.

Each rule says why not, in words that fit behind the neuron's name, or an empty text.
"""

from collections.abc import Callable
from typing import Final

from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.snapshot import DesiredModel, NeuronView

Constraint = Callable[[DesiredModel, NeuronView, Board], str]


def _state(_model: DesiredModel, neuron: NeuronView, _board: Board) -> str:
    return "" if neuron.state is NeuronState.CONNECTED else f"is {neuron.state}"


def _cordon(_model: DesiredModel, neuron: NeuronView, _board: Board) -> str:
    if not (neuron.cordoned or neuron.draining):
        return ""
    return "is draining" if neuron.draining else "is cordoned"


def _known(model: DesiredModel, neuron: NeuronView, _board: Board) -> str:
    """Keep what no config and no spec names where it is: else one that was taken out of them, and
    is asked for while it leaves, would spread to neurons from which nobody takes it away again."""
    instance = neuron.instances.get(model.config.id)
    if not model.demanded or (instance is not None and instance.status is not None):
        return ""
    return "does not know it, and no config names it"


def _engine(model: DesiredModel, neuron: NeuronView, _board: Board) -> str:
    engines = neuron.capabilities.engines
    if model.config.engine in engines:
        return ""
    allowed = ", ".join(engines) or "none"
    return f"does not allow engine {model.config.engine} (allows {allowed})"


def _neurons(model: DesiredModel, neuron: NeuronView, _board: Board) -> str:
    only = model.rules.placement.neurons
    if not only or neuron.descriptor.id in only:
        return ""
    return f"is not one of {', '.join(sorted(only))} (placement.neurons)"


def _labels(model: DesiredModel, neuron: NeuronView, _board: Board) -> str:
    has = neuron.descriptor.labels
    missing = [f"{k}={v}" for k, v in model.rules.placement.labels if has.get(k) != v]
    return f"lacks the label {', '.join(missing)}" if missing else ""


def _beside(model: DesiredModel, neuron: NeuronView, board: Board) -> str:
    for other in sorted(model.rules.placement.beside):
        if board.holders.get(other) and not board.has(neuron, other):
            return f"does not have {other}, with which it must be"
    return ""


def _apart(model: DesiredModel, neuron: NeuronView, board: Board) -> str:
    own = model.config.id
    for other in sorted(model.rules.placement.apart_from):
        if board.has(neuron, other):
            return f"has {other}, from which it must be apart"
    for other in sorted(neuron.instances):
        desired = board.desired.get(other)
        if desired is None or own not in desired.rules.placement.apart_from:
            continue
        if board.has(neuron, other):
            return f"has {other}, which must be apart from it"
    return ""


CONSTRAINTS: Final[tuple[tuple[str, Constraint], ...]] = (
    ("state", _state),
    ("cordon", _cordon),
    ("known", _known),
    ("engine", _engine),
    ("neurons", _neurons),
    ("labels", _labels),
    ("with", _beside),
    ("apart_from", _apart),
)
"""In order: the first that says something removes the neuron."""


def may_take(model: DesiredModel, neuron: NeuronView, board: Board) -> bool:
    """Tell whether nothing but its state (and, perhaps, its memory) keeps a model off a neuron."""
    rules = (each for name, each in CONSTRAINTS if name != "state")
    return not any(constraint(model, neuron, board) for constraint in rules)
