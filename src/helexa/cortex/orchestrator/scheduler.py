"""Where a request goes: filters, scores, pick. Pure and cheap; one call per request.

    route(request, snapshot, sent, router) -> RoutingDecision | Refusal

`sent(replica)` is how many requests the gateway has open on a replica right now; `router` holds
the strategy and what the gateway remembers. Nothing is changed here: among replicas of equal score
a hash of the request id decides, so a decision can be repeated from its inputs.
"""

import difflib
import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from helexa.cortex.orchestrator.filters import (
    FILTERS,
    UNHEALTHY_RETRY_S,
    open_max,
    refuse_unsupported,
    supports,
)
from helexa.cortex.orchestrator.pace import Pace
from helexa.cortex.orchestrator.prefix import Holder, neuron_of
from helexa.cortex.orchestrator.requests import (
    Candidate,
    Choice,
    Explanation,
    Finding,
    RoutingDecision,
    RoutingRequest,
    candidate_of,
)
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, Replica
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId
from helexa.protocol.workload import WorkloadClass

__all__ = ["RoutingDecision", "RoutingRequest", "Sent", "explain", "find_model", "route"]

Sent = Callable[[Replica], int]

RETRY_AFTER_S_MAX: Final = 30
MEMO_MAX: Final = 1024
"""Kinds of requests whose candidates are kept with a snapshot; callers choose the names."""
LOOKED_AT_MAX: Final = 64
"""A model with more replicas has a part of them looked at for each request (`SAMPLE`): whoever
picks the best of a few picks nearly as well as of all, and the cost stays the same."""
SAMPLE: Final = 16
PLAIN: Final = Router()
"""The default strategy without a memory: nobody notes anything in it."""
ANY_WINDOW: Final = 1 << 62
_NAMES_COMPARED_MAX: Final = 200
_NAME_SHOWN_CHARS: Final = 128


class Usual(msgspec.Struct, frozen=True, gc=False):
    """What was found out about a kind of request in one snapshot."""

    model: ModelView | None = None
    candidates: tuple[tuple[Replica, int, int, Pace, Holder, int], ...] = ()
    """Those that pass every filter while nobody uses them: how many requests may be open on each,
    and the fields of `Candidate`."""
    window_tokens: int = 0
    """The smallest of their context windows."""
    only: RoutingDecision | None = None
    """Where there is no choice."""


def route(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent, router: Router = PLAIN
) -> RoutingDecision | Refusal:
    """Return the replica for a request, or why there is none."""
    if not request.excluded:
        decision = _route_as_usual(request, snapshot, sent, router)
        if decision is not None:
            return decision
    return _route_in_full(request, snapshot, sent, router)


def _route_as_usual(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent, router: Router
) -> RoutingDecision | None:
    """Decide by what was found out before for this model and kind of work in this very snapshot.

    All filters but those for open requests depend on the snapshot alone, so their outcome is kept
    with it. None: look at everything, for there is something to refuse or to explain.
    """
    key = (
        request.model,
        request.operation,
        request.workload_class,
        request.tools,
        request.json_schema,
        router.memory,
    )
    usual = snapshot.memo.get(key)
    if usual is None:
        usual = _usual(request, snapshot, router)
        if len(snapshot.memo) < MEMO_MAX:
            snapshot.memo[key] = usual
    model = usual.model
    if model is None:
        return None
    if len(model.replicas) > LOOKED_AT_MAX:
        return _route_among_many(request, model, snapshot, sent, router)
    if request.prompt_tokens_min > usual.window_tokens:
        return None
    only = usual.only
    if only is not None and router.may_use is None:
        return only if sent(only.replica) < usual.candidates[0][1] else None
    free = [
        Candidate(replica, in_flight, seats, pace, holder, mark)
        for replica, open_max, seats, pace, holder, mark in usual.candidates
        if (in_flight := sent(replica)) < open_max
    ]
    if router.may_use is not None:
        may = router.may_use
        free = [c for c in free if may(request, c.replica)]
    return _decide(request, model, free, snapshot, router) if free else None


def _usual(request: RoutingRequest, snapshot: FleetSnapshot, router: Router) -> Usual:
    model = find_model(request, snapshot)
    if isinstance(model, Refusal):
        return Usual()
    if len(model.replicas) > LOOKED_AT_MAX:
        return Usual(model)
    short = msgspec.structs.replace(request, prompt_tokens_min=0)
    candidates = _candidates(model.replicas, lambda _replica: 0, router)
    for each in FILTERS:
        candidates = each.keep(short, candidates)
    windows = [c.replica.capability.context_tokens for c in candidates]
    smallest = min((window for window in windows if window is not None), default=ANY_WINDOW)
    rows = tuple(
        (c.replica, _open_max(request, c), c.seats, c.pace, c.holder, c.mark) for c in candidates
    )
    only = None
    if len(candidates) == 1:
        only = _decision(model, Choice(candidates[0], "only"), 1, snapshot)
    return Usual(model, rows, smallest, only)


def _open_max(request: RoutingRequest, candidate: Candidate) -> int:
    replica = candidate.replica
    return 1 if replica.probing else open_max(request.operation, replica)


def _route_among_many(
    request: RoutingRequest,
    model: ModelView,
    snapshot: FleetSnapshot,
    sent: Sent,
    router: Router,
) -> RoutingDecision | None:
    """Decide among a part of very many replicas; None where none of that part can take it.

    The part is the same for all requests of a session, and whoever knows the prompt belongs to it.
    """
    replicas = model.replicas
    start = zlib.crc32((request.session or request.request_id).encode()) % len(replicas)
    part = replicas[start : start + SAMPLE]
    if len(part) < SAMPLE:
        part += replicas[: SAMPLE - len(part)]
    if request.prefix:
        held = router.memory.prefixes.holders(request.prefix)
        by_neuron = _by_neuron(model, snapshot) if held else {}
        looked_at = {replica.neuron_id for replica in part}
        for holder in held:
            neuron_id = neuron_of(holder)
            known = by_neuron.get(neuron_id)
            if known is not None and neuron_id not in looked_at:
                looked_at.add(neuron_id)
                part += (known,)
    candidates = _candidates(part, sent, router)
    for each in router.filters():
        candidates = each.keep(request, candidates)
    return _decide(request, model, candidates, snapshot, router) if candidates else None


def _by_neuron(model: ModelView, snapshot: FleetSnapshot) -> dict[NeuronId, Replica]:
    key = ("by_neuron", model.config.id)
    found: dict[NeuronId, Replica] | None = snapshot.memo.get(key)
    if found is None:
        found = {replica.neuron_id: replica for replica in model.replicas}
        if len(snapshot.memo) < MEMO_MAX:
            snapshot.memo[key] = found
    return found


def _route_in_full(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent, router: Router
) -> RoutingDecision | Refusal:
    model = find_model(request, snapshot)
    if isinstance(model, Refusal):
        return model
    if not model.replicas:
        return _refuse_not_loaded(request, model, snapshot)
    candidates = _candidates(model.replicas, sent, router)
    for each in router.filters():
        kept = each.keep(request, candidates)
        if not kept:
            return each.refuse(request, model)
        candidates = kept
    return _decide(request, model, candidates, snapshot, router)


def _decide(
    request: RoutingRequest,
    model: ModelView,
    candidates: list[Candidate],
    snapshot: FleetSnapshot,
    router: Router,
) -> RoutingDecision:
    if len(candidates) == 1:
        choice = Choice(candidates[0], "only")
    else:
        choice = router.strategy.pick(request, candidates, router.memory)
    return _decision(model, choice, len(candidates), snapshot)


def _decision(
    model: ModelView, choice: Choice, eligible: int, snapshot: FleetSnapshot
) -> RoutingDecision:
    replica = choice.candidate.replica
    neuron = snapshot.neurons[replica.neuron_id].descriptor
    return RoutingDecision(model, (replica,), (neuron,), "single", eligible, choice.reason)


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


def explain(
    request: RoutingRequest, snapshot: FleetSnapshot, sent: Sent, router: Router = PLAIN
) -> Explanation:
    """Return the decision of `route` for these very inputs, with its reasons."""
    outcome = route(request, snapshot, sent, router)
    model = find_model(request, snapshot)
    if isinstance(model, Refusal):
        return Explanation(None, None, model.because)
    candidates = _candidates(model.replicas, sent, router)
    passed = candidates
    removed: dict[NeuronId, Finding] = {}
    for each in router.filters():
        kept = each.keep(request, passed)
        for c in passed:
            if c not in kept:
                neuron_id = c.replica.neuron_id
                removed[neuron_id] = Finding(neuron_id, each.name, each.because(request, c))
        passed = kept
    shares = router.strategy.shares(request, passed, router.memory) if passed else ()
    scored = {
        c.replica.neuron_id: Finding(
            c.replica.neuron_id,
            score=sum(share.weight * share.values[place] for share in shares),
            scores=tuple((share.name, share.values[place]) for share in shares),
        )
        for place, c in enumerate(passed)
    }
    found = removed | scored
    findings = tuple(found[c.replica.neuron_id] for c in candidates) + _not_loaded(model)
    weights = tuple((share.name, share.weight) for share in shares)
    name = router.strategy_name
    if isinstance(outcome, Refusal):
        because = outcome.because
        return Explanation(model.config.id, None, because, findings, "", name, weights)
    because = f"{_REASONS.get(outcome.reason, outcome.reason)}; {len(passed)} of {len(candidates)} "
    because += "loaded replicas could take it"
    chosen = outcome.replica.neuron_id
    return Explanation(model.config.id, chosen, because, findings, outcome.reason, name, weights)


_REASONS: Final = {
    "only": "no other replica could take it",
    "least_loaded": "the fewest seconds are lost there",
    "prefix": "it was sent the beginning of this prompt before",
    "session": "it is the home of this session",
    "spill": "who knew the prompt or session is too busy; the fewest seconds are lost there",
    "round_robin": "it was its turn",
}


def _not_loaded(model: ModelView) -> tuple[Finding, ...]:
    loaded = {replica.neuron_id for replica in model.replicas}
    return tuple(
        Finding(neuron_id, "state", f"the model is {state} there")
        for neuron_id, state in sorted(model.states.items())
        if neuron_id not in loaded
    )


def _candidates(replicas: tuple[Replica, ...], sent: Sent, router: Router) -> list[Candidate]:
    pace_of = router.memory.paces.of
    return [candidate_of(r, sent(r), pace_of(r.neuron_id, r.model_id)) for r in replicas]


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
    if model.expected:
        return Refusal(ErrorCode.MODEL_LOADING, f"model {name!r} {model.because}")
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
