"""Why a model is placed as it is, and where one more replica would go: a funnel. Pure."""

from typing import Any

from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.demand import hardware_key
from helexa.cortex.orchestrator.forecast import NEVER, hours_told
from helexa.cortex.orchestrator.placement import Placement, Verdict, place
from helexa.cortex.orchestrator.provisioner import by_need
from helexa.cortex.orchestrator.snapshot import DesiredModel, FleetSnapshot, ModelView
from helexa.protocol.ids import ModelId, NeuronId

Json = dict[str, Any]


def placing(snapshot: FleetSnapshot, name: str, now: float) -> Json | None:
    """Return how a model is placed, by id or alias; None where it is not known.

    `now` is monotonic seconds. The funnel is what each constraint removes, in their order.
    """
    model = snapshot.models.get(snapshot.names.get(name, ModelId("")))
    if model is None:
        return None
    config = model.config
    desired = snapshot.desired.get(config.id)
    wanted = desired or DesiredModel(config, config.digest(), replicas=0)
    board = Board.of(snapshot, now)
    holders = board.holders.get(config.id, set())
    others = [n for n in board.neurons if n.descriptor.id not in holders]
    placement = place(wanted, board, among=others, ever=True)
    return {
        "model": config.id,
        "wanted": wanted.replicas,
        "wanted_because": wanted.because,
        "replicas": sorted(replica.neuron_id for replica in model.replicas),
        "holders": sorted(holders),
        "set_aside": wanted.set_aside,
        "rules": _rules(wanted),
        "turn": _turn(snapshot, config.id),
        "demand": demand_json(snapshot, config.id, now),
        "seats": _seats(model, snapshot),
        "forecast": _forecast(snapshot, wanted),
        "needs_bytes": board.needs.get(config.id),
        "funnel": _funnel(placement, holders),
        "candidates": [_candidate(v) for v in _ranked(placement)],
        "next": placement.neuron_id,
        "evicts": list(placement.evicts),
        "because": _because(model, placement),
    }


def _because(model: ModelView, placement: Placement) -> str:
    if placement.neuron_id is None:
        if not placement.verdicts and model.replicas:
            return "every neuron has it already"
        return placement.because()
    evicts = placement.evicts
    if evicts:
        return f"one more would go to {placement.neuron_id}, in place of {', '.join(evicts)}"
    return f"one more would go to {placement.neuron_id}"


def _rules(desired: DesiredModel) -> Json:
    rules, placement = desired.rules, desired.rules.placement
    return {
        "min_replicas": rules.min_replicas,
        "max_replicas": rules.max_replicas,
        "guaranteed": rules.guaranteed,
        "weight": rules.weight,
        "priority": rules.priority.name.lower(),
        "keep_alive_s": rules.keep_alive_s,
        "pinned": rules.pinned,
        "forecast": rules.forecast,
        "placement": {
            "neurons": sorted(placement.neurons),
            "labels": dict(placement.labels),
            "with": sorted(placement.beside),
            "apart_from": sorted(placement.apart_from),
            "spread": placement.spread,
        },
    }


def _forecast(snapshot: FleetSnapshot, desired: DesiredModel) -> Json:
    """Return at which hours it is regularly wanted, and what that means now: so many replicas
    `warm`, of those that are wanted so many by this alone (`ahead`)."""
    profile = snapshot.outlook.profiles.get(desired.config.id, NEVER)
    return {"warm": desired.warm, "ahead": desired.ahead, "hours": list(hours_told(profile))}


def _turn(snapshot: FleetSnapshot, model_id: ModelId) -> int | None:
    """Return the model's place in the order in which models get what is free; 1 is first."""
    order = [model.config.id for model in by_need(snapshot)]
    return order.index(model_id) + 1 if model_id in order else None


def demand_json(snapshot: FleetSnapshot, model_id: ModelId, now: float) -> Json | None:
    """Return what is asked of a model; None where nothing is known of it."""
    known = snapshot.outlook.demand.get(model_id)
    if known is None:
        return None
    demand = known.at(now)
    return {
        "requests_per_s": _rates(demand.requests),
        "completion_tokens_per_s": _rates(demand.completion_tokens),
        "service_s": round(demand.service_s, 3),
        "expected_concurrency": round(demand.expected(), 2),
        "in_flight": demand.in_flight,
        "waiting": demand.waiting,
        "idle_s": round(demand.idle_s(now), 1),
    }


def _rates(rates: tuple[float, float, float]) -> Json:
    names = ("minute", "ten_minutes", "hour")
    return {name: float(f"{rate:.3g}") for name, rate in zip(names, rates, strict=True)}


def _seats(model: ModelView, snapshot: FleetSnapshot) -> list[Json]:
    """Return how many requests each replica is given at a time, and what was learned of it."""
    told = []
    for replica in model.replicas:
        hardware = hardware_key(snapshot.neurons[replica.neuron_id].capabilities.hardware)
        key = (replica.model_id, model.config.engine, hardware)
        known = snapshot.outlook.learned.useful.get(key)
        told.append(
            {
                "neuron": replica.neuron_id,
                "seats": replica.seats,
                "engine_seats": replica.capability.seats,
                "tokens_per_s": known.curve.known() if known is not None else {},
                "probing": known is not None and known.probing,
            }
        )
    return told


def _funnel(placement: Placement, holders: set[NeuronId]) -> list[Json]:
    removed: dict[str, list[Json]] = {}
    if holders:
        removed["held"] = [
            {"neuron": key, "because": "has it, or is about to"} for key in sorted(holders)
        ]
    for verdict in placement.verdicts:
        if not verdict.fits:
            told = {
                "neuron": verdict.neuron_id,
                "because": verdict.because,
                "free_bytes": verdict.free_bytes,
                "would_help": verdict.would_help or None,
            }
            removed.setdefault(verdict.filter, []).append(told)
    return [{"filter": name, "removed": each} for name, each in removed.items()]


def _ranked(placement: Placement) -> list[Verdict]:
    """Return who fits, the chosen one first."""
    fitting = [v for v in placement.verdicts if v.fits]
    return sorted(fitting, key=lambda v: (v.neuron_id != placement.neuron_id, *v.rank))


def _candidate(verdict: Verdict) -> Json:
    return {
        "neuron": verdict.neuron_id,
        "free_bytes": verdict.free_bytes,
        "has_config": verdict.known,
        "apart_from_others": verdict.apart,
        "evicts": list(verdict.evicts),
    }
