"""Where a request goes: filters, scores, pick. Pure and cheap; one call per request.

    route(request, snapshot, sent) -> RoutingDecision | Refusal

`sent(replica)` is how many requests the gateway has open on a replica right now. Among replicas of
equal score a hash of the request id decides, so a decision can be repeated from its inputs.
"""

import difflib
from collections.abc import Callable
from typing import Final

import msgspec

from helexa.cortex.orchestrator.filters import (
    FILTERS,
    UNHEALTHY_RETRY_S,
    WAITING_PER_REPLICA_MAX,
    refuse_unsupported,
    supports,
)
from helexa.cortex.orchestrator.requests import (
    Candidate,
    Explanation,
    Finding,
    RoutingDecision,
    RoutingRequest,
)
from helexa.cortex.orchestrator.scorers import SCORERS, best_of, scores_of
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, Replica
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.workload import WorkloadClass

__all__ = ["RoutingDecision", "RoutingRequest", "Sent", "explain", "find_model", "route"]

Sent = Callable[[Replica], int]

Usual = tuple[ModelView | None, tuple[tuple[Replica, int], ...], int]
"""A model; its replicas, with their seats, that pass every filter while nobody uses them; and the
smallest of their context windows, in tokens."""
ANY_WINDOW: Final = 1 << 62

RETRY_AFTER_S_MAX: Final = 30
MEMO_MAX: Final = 1024
"""Kinds of requests whose candidates are kept with a snapshot; callers choose the names."""
_NAMES_COMPARED_MAX: Final = 200
_NAME_SHOWN_CHARS: Final = 128


def route(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent
) -> RoutingDecision | Refusal:
    """Return the replica for a request, or why there is none."""
    if not request.excluded:
        decision = _route_as_usual(request, snapshot, sent)
        if decision is not None:
            return decision
    return _route_in_full(request, snapshot, sent)


def _route_as_usual(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent
) -> RoutingDecision | None:
    """Decide by what was found out before for this model and kind of work in this very snapshot.

    All filters but the one for seats depend on the snapshot alone, so their outcome is kept with
    it. None: look at everything, for there is something to refuse or to explain.
    """
    key = (
        request.model,
        request.operation,
        request.workload_class,
        request.tools,
        request.json_schema,
    )
    usual = snapshot.memo.get(key)
    if usual is None:
        usual = _usual(request, snapshot)
        if len(snapshot.memo) < MEMO_MAX:
            snapshot.memo[key] = usual
    model, replicas, window_tokens = usual
    if model is None or request.prompt_tokens_min > window_tokens:
        return None
    free = [
        Candidate(replica, in_flight, seats)
        for replica, seats in replicas
        if (in_flight := sent(replica)) < seats + WAITING_PER_REPLICA_MAX
    ]
    if not free:
        return None
    best = free[0] if len(free) == 1 else best_of(free, request.request_id)
    return _decision(model, best.replica, len(free), snapshot)


def _usual(request: RoutingRequest, snapshot: FleetSnapshot) -> Usual:
    model = find_model(request, snapshot)
    if isinstance(model, Refusal):
        return None, (), 0
    short = msgspec.structs.replace(request, prompt_tokens_min=0)
    candidates = _candidates(model, lambda _replica: 0)
    for each in FILTERS:
        candidates = each.keep(short, candidates)
    windows = [c.replica.capability.context_tokens for c in candidates]
    smallest = min((window for window in windows if window is not None), default=ANY_WINDOW)
    return model, tuple((c.replica, c.seats) for c in candidates), smallest


def _route_in_full(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent
) -> RoutingDecision | Refusal:
    model = find_model(request, snapshot)
    if isinstance(model, Refusal):
        return model
    if not model.replicas:
        return _refuse_not_loaded(request, model, snapshot)
    candidates = _candidates(model, sent)
    for each in FILTERS:
        kept = each.keep(request, candidates)
        if not kept:
            return each.refuse(request, model)
        candidates = kept
    best = candidates[0] if len(candidates) == 1 else best_of(candidates, request.request_id)
    return _decision(model, best.replica, len(candidates), snapshot)


def _decision(
    model: ModelView, replica: Replica, eligible: int, snapshot: FleetSnapshot
) -> RoutingDecision:
    neuron = snapshot.neurons[replica.neuron_id].descriptor
    return RoutingDecision(model, (replica,), (neuron,), "single", eligible)


def find_model(request: RoutingRequest, snapshot: FleetSnapshot) -> ModelView | Refusal:
    """Return the model a request means, by id, alias or the default of its class."""
    name = request.model
    if name is None:
        name = _default_model(request.workload_class, snapshot)
        if name is None:
            return Refusal(
                ErrorCode.MISSING_MODEL_FIELD,
                f"no model is named, and there is no default for {request.workload_class}",
                param="model",
            )
    model_id = snapshot.names.get(name)
    if model_id is None:
        return _refuse_unknown(name, snapshot)
    return snapshot.models[model_id]


def explain(request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent) -> Explanation:
    """Return the decision of `route` for these very inputs, with its reasons."""
    outcome = route(request, snapshot, sent)
    model = find_model(request, snapshot)
    if isinstance(model, Refusal):
        return Explanation(None, None, model.because)
    findings = tuple(_finding(request, c) for c in _candidates(model, sent))
    if isinstance(outcome, Refusal):
        return Explanation(model.config.id, None, outcome.because, findings)
    chosen = outcome.replica.neuron_id
    because = f"best score of {outcome.eligible} eligible replicas, {len(findings)} loaded"
    return Explanation(model.config.id, chosen, because, findings)


def _candidates(model: ModelView, sent: Sent) -> list[Candidate]:
    return [Candidate(r, sent(r), r.capability.seats or 1) for r in model.replicas]


def _finding(request: RoutingRequest, candidate: Candidate) -> Finding:
    neuron_id = candidate.replica.neuron_id
    for each in FILTERS:
        if not each.keep(request, [candidate]):
            return Finding(neuron_id, each.name, each.because(request, candidate))
    scores = tuple((name, scorer([candidate])[0]) for name, scorer, _ in SCORERS)
    return Finding(neuron_id, score=scores_of([candidate])[0], scores=scores)


def _default_model(workload_class: WorkloadClass, snapshot: FleetSnapshot) -> str | None:
    defaults = snapshot.default_models
    name = defaults.get(workload_class)
    if name is None and workload_class is WorkloadClass.CHAT_BULK:
        name = defaults.get(WorkloadClass.CHAT_INTERACTIVE)
    return name


def _refuse_unknown(name: str, snapshot: FleetSnapshot) -> Refusal:
    names = sorted(snapshot.names)[:_NAMES_COMPARED_MAX]
    shown = name if len(name) <= _NAME_SHOWN_CHARS else name[:_NAME_SHOWN_CHARS] + "…"
    near = difflib.get_close_matches(name[:_NAME_SHOWN_CHARS], names, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return Refusal(ErrorCode.MODEL_NOT_FOUND, f"no model is called {shown!r}{hint}", param="model")


def _refuse_not_loaded(
    request: RoutingRequest, model: ModelView, snapshot: FleetSnapshot
) -> Refusal:
    """Say why a known model cannot be used now, and when to come back."""
    if model.capability is not None and not supports(request, model.capability):
        return refuse_unsupported(request, model)
    name = model.config.id
    if model.loading or model.loadable:
        done = f" ({model.progress:.0%})" if model.progress is not None else ""
        return Refusal(
            ErrorCode.MODEL_LOADING, f"model {name!r} is being loaded: {model.because}{done}"
        )
    retry_after_s: int | None = None
    if model.next_attempt_s is not None:
        wait_s = int(model.next_attempt_s - snapshot.taken_s) + 1
        retry_after_s = min(max(wait_s, UNHEALTHY_RETRY_S), RETRY_AFTER_S_MAX)
    return Refusal(
        ErrorCode.SERVICE_UNAVAILABLE,
        f"model {name!r} is not available: {model.because}",
        retry_after_s=retry_after_s,
    )
