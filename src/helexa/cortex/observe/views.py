"""The fleet as plain values for JSON and pages. Shapes are stable: tools depend on them. Pure."""

from typing import Any

from helexa.cortex.orchestrator.board import Board, booked_bytes, needs_of_models
from helexa.cortex.orchestrator.circuit import CircuitState
from helexa.cortex.orchestrator.liveness import PRESENT, NeuronState
from helexa.cortex.orchestrator.placement import Placement, place
from helexa.cortex.orchestrator.requests import Explanation
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    FleetSnapshot,
    Instance,
    ModelView,
    NeuronView,
    Replica,
)
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelCapability

Json = dict[str, Any]


def model_state(view: ModelView) -> str:
    """Return one word: loaded, degraded (every replica ails), loading, failed or unloaded.

    A model whose replicas all fail is tried still, and degraded all the same.
    """
    if view.replicas:
        usable = any(r.circuit is not CircuitState.OPEN and not r.suspect for r in view.replicas)
        return "loaded" if usable else "degraded"
    if view.loading:
        return "loading"
    return "failed" if view.unplaceable or view.next_attempt_s is not None else "unloaded"


def models(snapshot: FleetSnapshot) -> list[Json]:
    """Return every model with its replicas, in the order of their ids."""
    return [model_json(snapshot.models[key], snapshot) for key in sorted(snapshot.models)]


def model_json(view: ModelView, snapshot: FleetSnapshot) -> Json:
    """Return one model with its replicas."""
    config = view.config
    desired = snapshot.desired.get(config.id)
    ahead = desired.ahead if desired is not None else 0
    wait_s = None
    if view.next_attempt_s is not None:
        wait_s = round(max(view.next_attempt_s - snapshot.taken_s, 0.0), 1)
    ready_s = None
    if view.ready_at_s is not None:
        ready_s = round(max(view.ready_at_s - snapshot.taken_s, 0.0), 1)
    return {
        "id": config.id,
        "aliases": list(config.aliases),
        "engine": config.engine,
        "source": config.source or config.listen_endpoint,
        "state": model_state(view),
        "because": view.because or (desired.because if desired is not None and ahead else ""),
        "progress": view.progress,
        "next_attempt_in_s": wait_s,
        "ready_in_s": ready_s,
        "desired": view.desired,
        "wanted": view.wanted,
        "ahead": ahead,
        "pinned": view.pinned,
        "outdated": view.outdated,
        "capability": _capability(view.capability),
        "replicas": [_replica(replica) for replica in view.replicas],
        "neurons": {neuron: state.value for neuron, state in sorted(view.states.items())},
    }


def _capability(capability: ModelCapability | None) -> Json | None:
    if capability is None:
        return None
    return {
        "workloads": [workload.value for workload in capability.workloads],
        "context_tokens": capability.context_tokens,
        "seats": capability.seats,
        "memory_bytes": capability.memory_bytes,
        "memory_measured_bytes": capability.memory_measured_bytes,
        "embedding_dimensions": capability.embedding_dimensions,
        "tools": capability.tools,
        "vision": capability.vision,
        "json_schema": capability.json_schema,
        "tokens_per_second": capability.tokens_per_second,
    }


def _replica(replica: Replica) -> Json:
    return {
        "neuron": replica.neuron_id,
        "healthy": replica.healthy and not replica.suspect,
        "cordoned": replica.cordoned,
        "circuit": replica.circuit.value,
        "seats": replica.seats,
        "engine_seats": replica.capability.seats,
        "active_requests": replica.active_requests,
        "memory_bytes": replica.capability.memory_bytes,
        "tokens_per_second": replica.capability.tokens_per_second,
    }


def neurons(snapshot: FleetSnapshot, now: float) -> list[Json]:
    """Return every known neuron, in the order of their ids; `now` is monotonic seconds."""
    views = [snapshot.neurons[key] for key in sorted(snapshot.neurons)]
    needs = needs_of_models(views)
    return [neuron_json(view, needs, now) for view in views]


def neuron_json(view: NeuronView, needs: dict[ModelId, int], now: float) -> Json:
    """Return one neuron; `needs` are the models' needs in bytes."""
    descriptor, hardware = view.descriptor, view.capabilities.hardware
    return {
        "id": descriptor.id,
        "state": view.state.value,
        "cordoned": view.cordoned,
        "draining": view.draining,
        "since_s": round(max(now - view.since_s, 0.0), 1),
        "heard_s_ago": round(max(now - view.last_heard_s, 0.0), 1),
        "hostname": descriptor.hostname,
        "software_version": descriptor.software_version,
        "labels": dict(descriptor.labels),
        "engines": list(view.capabilities.engines),
        "hardware": {
            "cpu_count": hardware.cpu_count,
            "memory_total_bytes": hardware.memory_total_bytes,
            "memory_available_bytes": view.load.memory_available_bytes
            or hardware.memory_available_bytes,
            "devices": [
                {"vendor": d.vendor, "name": d.name, "memory_total_bytes": d.memory_total_bytes}
                for d in hardware.devices
            ],
        },
        "memory": {
            "budget_bytes": view.capabilities.memory_budget_bytes,
            "booked_bytes": booked_bytes(view, needs),
        },
        "load": {
            "active_requests": view.load.active_requests,
            "waiting_requests": view.load.waiting_requests,
            "cpu_ratio": view.load.cpu_ratio,
        },
        "problems": list(view.health.problems),
        "recent_failures": view.health.recent_failures,
        "failed_spawns": dict(view.health.failed_spawns),
        "failed_applies": dict(view.health.failed_applies),
        "latency_ms_average": view.health.latency_ms_average,
        "tokens_per_second_average": view.health.tokens_per_second_average,
        "models": {key: instance_json(value) for key, value in sorted(view.instances.items())},
        "conflicts": view.conflicts,
        "faults": view.faults,
    }


def instance_json(instance: Instance) -> Json:
    """Return one model on one neuron."""
    status = instance.status
    pending = instance.pending
    capability = status.capability if status is not None else None
    return {
        "state": instance.state.value,
        "because": (status.because if status is not None else "") or instance.because,
        "progress": status.progress if status is not None else None,
        "failures": status.failures if status is not None else 0,
        "active_requests": status.active_requests if status is not None else 0,
        "waiting_requests": status.waiting_requests if status is not None else 0,
        "seats": capability.seats if capability is not None else 0,
        "memory_bytes": capability.memory_bytes if capability is not None else None,
        "owned": instance.owned,
        "asked": type(pending.command).__name__ if pending is not None else None,
    }


def problems(snapshot: FleetSnapshot) -> list[str]:
    """Say what keeps the fleet from doing all that is wanted; an empty list when nothing does."""
    found: list[str] = []
    present = [n for n in snapshot.neurons.values() if n.state in PRESENT]
    if not present:
        found.append("no neuron is connected")
    for neuron_id, neuron in sorted(snapshot.neurons.items()):
        if neuron.state is not NeuronState.CONNECTED:
            found.append(f"neuron {neuron_id} is {neuron.state}")
        found.extend(f"neuron {neuron_id}: {problem}" for problem in neuron.health.problems)
    for model_id, view in sorted(snapshot.models.items()):
        state = model_state(view)
        desired = snapshot.desired.get(view.config.id)
        if view.wanted > (desired.ahead if desired is not None else 0) and state != "loaded":
            found.append(f"model {model_id} is {state}: {view.because or 'no healthy replica'}")
    return found


def counts(snapshot: FleetSnapshot) -> Json:
    """Return how many neurons and models are in which state."""
    neuron_counts: dict[str, int] = {}
    for neuron in snapshot.neurons.values():
        neuron_counts[neuron.state.value] = neuron_counts.get(neuron.state.value, 0) + 1
    model_counts: dict[str, int] = {}
    for view in snapshot.models.values():
        state = model_state(view)
        model_counts[state] = model_counts.get(state, 0) + 1
    return {"neurons": neuron_counts, "models": model_counts}


def placement_of(model: ModelView, snapshot: FleetSnapshot, now: float) -> Placement:
    """Return where one more replica of a model would go, and what each neuron says."""
    config = model.config
    desired = snapshot.desired.get(config.id) or DesiredModel(config, config.digest())
    return place(desired, Board.of(snapshot, now), ever=True)


def explanation(found: Explanation, placement: Placement | None) -> Json:
    """Return why a request goes where it goes, and where a further replica would go."""
    body: Json = {
        "model": found.model_id,
        "chosen": found.chosen,
        "because": found.because,
        "reason": found.reason or None,
        "strategy": found.strategy,
        "weights": dict(found.weights),
        "candidates": [
            {
                "neuron": f.neuron_id,
                "eligible": not f.filter,
                "filter": f.filter or None,
                "because": f.because,
                "score": f.score,
                "scores": dict(f.scores),
            }
            for f in found.findings
        ],
    }
    if placement is not None:
        body["placement"] = placement_json(placement)
    return body


def placement_json(placement: Placement) -> Json:
    """Return where one more replica of a model would go, and what each neuron said."""
    return {
        "next": placement.neuron_id,
        "needs_bytes": placement.needs_bytes,
        "because": "" if placement.neuron_id else placement.because(),
        "neurons": [
            {
                "neuron": v.neuron_id,
                "fits": v.fits,
                "because": v.because,
                "free_bytes": v.free_bytes,
            }
            for v in placement.verdicts
        ],
    }
