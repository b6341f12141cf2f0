"""Marks on neurons by the admin API: cordon, uncordon and drain. They change nothing by themselves:
the control loop places, moves and unloads by them.
"""

from collections.abc import Callable, Mapping

from helexa.cortex.admin.writes import Change, Json, WriteBody
from helexa.cortex.orchestrator.events import Event, NeuronMarked
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, NeuronView
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId

_NAMED_MAX = 20
Marks = tuple[bool, bool]
"""Cordoned, draining."""


def cordoned(view: NeuronView) -> Marks:
    """Return the marks of a neuron that gets no further models; a drain goes on."""
    return True, view.draining


def uncordoned(_view: NeuronView) -> Marks:
    """Return the marks of a neuron that takes part fully again."""
    return False, False


def drained(_view: NeuronView) -> Marks:
    """Return the marks of a neuron whose models are to move away."""
    return True, True


def marking(
    snapshot: Callable[[], FleetSnapshot], marks: Callable[[NeuronView], Marks]
) -> Change[WriteBody]:
    """Return the change that sets these marks on the neuron of the path."""

    def mark(path: Mapping[str, str], body: WriteBody) -> tuple[Json, list[Event]] | Refusal:
        neurons = snapshot().neurons
        neuron_id = NeuronId(path["id"])
        view = neurons.get(neuron_id)
        if view is None:
            return unknown_neuron(path["id"], neurons)
        is_cordoned, is_draining = marks(view)
        event = NeuronMarked(neuron_id, is_cordoned, is_draining, body.cause)
        return {"id": neuron_id, "cordoned": is_cordoned, "draining": is_draining}, [event]

    return mark


def unknown_neuron(name: str, neurons: Mapping[NeuronId, NeuronView]) -> Refusal:
    """Say that no neuron has this name, and which there are."""
    known = sorted(neurons)
    more = f" and {len(known) - _NAMED_MAX} more" if len(known) > _NAMED_MAX else ""
    named = ", ".join(known[:_NAMED_MAX]) + more
    because = f"no neuron is called {name[:64]!r}; known are: {named or 'none'}"
    return Refusal(ErrorCode.NOT_FOUND, because, param="id")
