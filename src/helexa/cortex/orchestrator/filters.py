"""Which replicas may take a request: one small test each, the most lasting first. Pure.

A filter keeps the candidates that pass. When none is left, the filter that removed the last one
says why, so a caller learns the lasting reason (the model cannot do this) before the passing one
(all seats are taken). A new filter is one `Filter` in `FILTERS`.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from helexa.cortex.orchestrator.requests import Candidate, RoutingRequest
from helexa.cortex.orchestrator.snapshot import ModelView, Replica
from helexa.protocol.dialects.dialect import DIALECT_OF
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.model import ModelCapability
from helexa.protocol.workload import WORKLOAD_OF_OPERATION, Operation, WorkloadClass

UNHEALTHY_RETRY_S: Final = 3
COUNTS_PER_REPLICA_MAX: Final = 64
"""Requests that only count tokens, sent to a replica past what else may be open on it: they take no
seat, so none has to be free."""


_UNABLE: Final = {
    "tools": "takes no tools (its engine or chat template has no place for them)",
    "response_format": "cannot keep to JSON (its engine has no such mode)",
}
"""Fields that some models cannot honour, and what is said then: an engine would just drop them."""


TenantPolicy = Callable[[RoutingRequest, Replica], bool]
"""Tells whether a caller's request may go to a replica; called often, so it must be quick."""


class Filter(NamedTuple):
    """A named test, what to say of a candidate that fails it, and of a request with no other.

    `keep` takes all candidates at once: one call for the lot is what keeps routing cheap.
    """

    name: str
    keep: Callable[[RoutingRequest, list[Candidate]], list[Candidate]]
    because: Callable[[RoutingRequest, Candidate], str]
    refuse: Callable[[RoutingRequest, ModelView], Refusal]


def supports(request: RoutingRequest, capability: ModelCapability) -> bool:
    """Tell whether a model can do what is asked; one that does not say is given a try."""
    return _lacking(request, capability) is None


def _lacking(request: RoutingRequest, capability: ModelCapability) -> str | None:
    """Return the field of a request that asks for more than the model can do, or None."""
    workloads = capability.workloads
    if workloads and WORKLOAD_OF_OPERATION[request.operation] not in workloads:
        return "model"
    if request.workload_class is WorkloadClass.VISION_CAPTION and not capability.vision:
        return "model"
    if request.tools and capability.tools is False:
        return "tools"
    return "response_format" if request.json_schema and capability.json_schema is False else None


def _keep_able(request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    return [c for c in candidates if supports(request, c.replica.capability)]


def _lacks(request: RoutingRequest, candidate: Candidate) -> str:
    field = _lacking(request, candidate.replica.capability)
    if field in _UNABLE:
        return _UNABLE[field]
    able = ", ".join(candidate.replica.capability.workloads) or "nothing it told"
    return f"does {able}; asked for {_asked(request)}"


def _asked(request: RoutingRequest) -> str:
    vision = request.workload_class is WorkloadClass.VISION_CAPTION
    return f"{request.operation} with images" if vision else str(request.operation)


def refuse_unsupported(request: RoutingRequest, model: ModelView) -> Refusal:
    """Say that the model cannot do this at all."""
    capability = model.replicas[0].capability if model.replicas else model.capability
    field = _lacking(request, capability) if capability is not None else None
    if field in _UNABLE:
        return Refusal(
            ErrorCode.INVALID_REQUEST_BODY,
            f"{field}: model {model.config.id!r} {_UNABLE[field]}; leave `{field}` out, or use a "
            "model that has it among its `capabilities` in /v1/models",
            param=field,
        )
    able = ", ".join(capability.workloads) if capability is not None else ""
    return Refusal(
        ErrorCode.INVALID_REQUEST_BODY,
        f"model {model.config.id!r} cannot do {_asked(request)}; it does {able or 'nothing'}",
        param="model",
    )


def _keep_fluent(request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    dialect = DIALECT_OF[request.operation].name
    return [c for c in candidates if dialect in c.replica.dialects]


def _too_old(request: RoutingRequest, _candidate: Candidate) -> str:
    return f"its neuron is too old for {request.operation}: it does not translate them"


def _refuse_too_old(request: RoutingRequest, model: ModelView) -> Refusal:
    name = DIALECT_OF[request.operation].name
    return Refusal(
        ErrorCode.NOT_SUPPORTED,
        f"no neuron that runs model {model.config.id!r} translates the {name} API; update helexa "
        "on its neurons, or use /v1/chat/completions",
    )


def _keep_large_enough(request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    tokens = request.prompt_tokens_min
    if not tokens:
        return candidates
    windows = [(c, c.replica.capability.context_tokens) for c in candidates]
    return [c for c, window in windows if window is None or tokens <= window]


def _too_long(request: RoutingRequest, candidate: Candidate) -> str:
    context = candidate.replica.capability.context_tokens
    return f"holds {context} tokens; the prompt has at least {request.prompt_tokens_min}"


def _refuse_too_long(request: RoutingRequest, model: ModelView) -> Refusal:
    context = max(r.capability.context_tokens or 0 for r in model.replicas)
    return Refusal(
        ErrorCode.CONTEXT_LENGTH_EXCEEDED,
        f"the prompt has at least {request.prompt_tokens_min} tokens; "
        f"model {model.config.id!r} takes {context}",
        param="messages",
    )


def _keep_untried(request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    if not request.excluded:
        return candidates
    tried = {(r.neuron_id, r.epoch, r.connection) for r in request.excluded}
    return [
        c
        for c in candidates
        for r in (c.replica,)
        if tried.isdisjoint({(r.neuron_id, r.epoch, r.connection), (r.neuron_id, r.epoch, 0)})
    ]


def _refuse_tried(_request: RoutingRequest, model: ModelView) -> Refusal:
    return Refusal(
        ErrorCode.UPSTREAM_CONNECTION_ERROR,
        f"every replica of model {model.config.id!r} was tried and failed",
    )


def _keep_open(_request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    return [c for c in candidates if not c.replica.cordoned]


def _refuse_closed(_request: RoutingRequest, model: ModelView) -> Refusal:
    return Refusal(
        ErrorCode.SERVICE_UNAVAILABLE,
        f"model {model.config.id!r} is being moved to another neuron",
        retry_after_s=UNHEALTHY_RETRY_S,
    )


def _keep_healthy(_request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.replica.healthy and not c.replica.suspect]


def _ails(_request: RoutingRequest, candidate: Candidate) -> str:
    if candidate.replica.suspect:
        return "has not been heard for a while"
    return "too many of its requests failed of late"


def _refuse_unhealthy(_request: RoutingRequest, model: ModelView) -> Refusal:
    return Refusal(
        ErrorCode.SERVICE_UNAVAILABLE,
        f"no replica of model {model.config.id!r} is healthy at the moment",
        retry_after_s=UNHEALTHY_RETRY_S,
    )


def open_max(operation: Operation, replica: Replica) -> int:
    """Return how many requests may be open on a replica for one more of a kind."""
    if operation is Operation.COUNT_TOKENS:
        return replica.open_max + COUNTS_PER_REPLICA_MAX
    return replica.open_max


def _keep_free(request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    kind = request.operation
    return [
        c for c in candidates if c.in_flight < c.seats or c.in_flight < open_max(kind, c.replica)
    ]


def _has_enough(_request: RoutingRequest, candidate: Candidate) -> str:
    told = f"{candidate.in_flight} requests on {candidate.seats} seats"
    own = candidate.replica.capability.seats
    if candidate.seats < own:
        told += f" (its engine has {own}; more than {candidate.seats} at a time bring no more)"
    return told


def _refuse_full(_request: RoutingRequest, model: ModelView) -> Refusal:
    seats = sum(r.seats for r in model.replicas)
    return Refusal(
        ErrorCode.RATE_LIMIT_EXCEEDED,
        f"all {seats} seats of model {model.config.id!r} are taken",
    )


def _keep_probed(_request: RoutingRequest, candidates: list[Candidate]) -> list[Candidate]:
    return [c for c in candidates if not (c.replica.probing and c.in_flight)]


def _keep_allowed_by(may: TenantPolicy) -> Callable[..., list[Candidate]]:
    return lambda request, candidates: [c for c in candidates if may(request, c.replica)]


def _refuse_tenant(request: RoutingRequest, model: ModelView) -> Refusal:
    who = f"the key {request.principal!r}" if request.principal else "a caller without a key"
    return Refusal(
        ErrorCode.PERMISSION_DENIED,
        f"{who} may use no replica of model {model.config.id!r}",
        param="model",
    )


def tenant_filter(may: TenantPolicy) -> Filter:
    """Return the filter that asks a policy who may use what."""
    said = "the tenant policy does not allow it"
    return Filter("tenant", _keep_allowed_by(may), lambda _r, _c: said, _refuse_tenant)


FILTERS: Final = (
    Filter("capability", _keep_able, _lacks, refuse_unsupported),
    Filter("dialect", _keep_fluent, _too_old, _refuse_too_old),
    Filter("context", _keep_large_enough, _too_long, _refuse_too_long),
    Filter("untried", _keep_untried, lambda _r, _c: "was tried for this request", _refuse_tried),
    Filter("cordon", _keep_open, lambda _r, _c: "its neuron is being drained", _refuse_closed),
    Filter("health", _keep_healthy, _ails, _refuse_unhealthy),
    Filter("circuit", _keep_probed, lambda _r, _c: "is being probed", _refuse_unhealthy),
    Filter(
        "seats",
        _keep_free,
        _has_enough,
        _refuse_full,
    ),
)
