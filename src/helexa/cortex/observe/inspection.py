"""One neuron or one model with all that is known of it, and how far a drain is. Pure."""

from typing import Any

from helexa.cortex.observe.views import (
    instance_json,
    model_json,
    neuron_json,
    placement_json,
    placement_of,
)
from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.draining import is_drained, remains, required, successors
from helexa.cortex.orchestrator.holding import needs_of_models
from helexa.cortex.orchestrator.placement import place
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    FleetSnapshot,
    Instance,
    ModelView,
    NeuronView,
)
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState

Json = dict[str, Any]


def neuron_detail(snapshot: FleetSnapshot, neuron_id: NeuronId, now: float) -> Json | None:
    """Return everything about one neuron; None where it is not known."""
    view = snapshot.neurons.get(neuron_id)
    if view is None:
        return None
    body = neuron_json(view, needs_of_models(snapshot.neurons.values()), now)
    body["epoch"] = view.descriptor.epoch
    body["answers"] = [
        {
            "command_id": answer.command_id,
            "model": answer.model_id,
            "accepted": answer.accepted,
            "because": answer.because,
            "rule": answer.rule,
        }
        for answer in view.answers
    ]
    body["drain"] = drain_progress(snapshot, view, now) if view.draining else None
    return body


def drain_progress(snapshot: FleetSnapshot, view: NeuronView, now: float) -> Json:
    """Return what still runs on a draining neuron, and what each model waits for."""
    left = [
        {"model": model_id, "because": _stays_because(snapshot, model_id, instance, now)}
        for model_id, instance in sorted(view.instances.items())
        if remains(instance)
    ]
    requests = view.load.active_requests + view.load.waiting_requests
    return {"done": is_drained(view), "requests": requests, "left": left if view.connected else []}


def _stays_because(
    snapshot: FleetSnapshot, model_id: ModelId, instance: Instance, now: float
) -> str:
    status = instance.status
    running = status.active_requests + status.waiting_requests if status is not None else 0
    if instance.state is ModelState.UNLOADING:
        return f"is unloaded once its {running} requests are done" if running else "is stopping"
    desired = snapshot.desired.get(model_id)
    others = successors(model_id, snapshot.neurons.values())
    model = snapshot.models.get(model_id)
    needed = required(desired)
    if others >= max(needed, 1) or model is None:
        return "is told to unload"
    missing = f"{others} of {max(needed, 1)} replicas run elsewhere"
    coming = [name for name, state in model.states.items() if state is ModelState.LOADING]
    if coming:
        return f"{missing}; it loads on {', '.join(sorted(coming))}"
    return f"{missing}; {_next_place(snapshot, model, now)}"


def _next_place(snapshot: FleetSnapshot, model: ModelView, now: float) -> str:
    """Say where a further replica goes, or why nowhere, of the neurons that have none."""
    config, board = model.config, Board.of(snapshot, now)
    without = [neuron for neuron in board.neurons if not board.has(neuron, config.id)]
    if not without:
        return "there is no other neuron to take it"
    desired = snapshot.desired.get(config.id) or DesiredModel(config, config.digest())
    placement = place(desired, board, among=without, ever=True)
    return f"next on {placement.neuron_id}" if placement.neuron_id else placement.because()


def model_detail(snapshot: FleetSnapshot, name: str, now: float) -> Json | None:
    """Return everything about one model, by id or alias; None where it is not known."""
    model_id = snapshot.names.get(name)
    if model_id is None:
        return None
    view = snapshot.models[model_id]
    body = model_json(view, snapshot)
    body["options"] = dict(view.config.options)
    body["config_digest"] = view.config.digest()
    body["instances"] = {
        neuron_id: instance_json(neuron.instances[model_id])
        for neuron_id, neuron in sorted(snapshot.neurons.items())
        if model_id in neuron.instances
    }
    body["placement"] = placement_json(placement_of(view, snapshot, now))
    return body
