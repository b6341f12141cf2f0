"""The models that a caller may name, as OpenAI and Anthropic list them, and more. Pure.

A superset of both objects: clients read a context limit under several names, so it is given
under several; what is unknown is left out, never 0.
"""

from typing import Any

from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView
from helexa.protocol.model import ModelCapability

CREATED = 1_767_225_600
CREATED_AT = "2026-01-01T00:00:00Z"
"""The same. Models have no birthday here; a constant keeps listings comparable."""


def listing(snapshot: FleetSnapshot) -> dict[str, Any]:
    """Return the body of `GET /v1/models`: every id and alias, in the order of their names."""
    entries = [entry(snapshot, name) for name in sorted(snapshot.names)]
    data = [item for item in entries if item is not None]
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def entry(snapshot: FleetSnapshot, name: str) -> dict[str, Any] | None:
    """Return the object of one model or alias, or None where nothing has that name."""
    model_id = snapshot.names.get(name)
    view = snapshot.models.get(model_id) if model_id is not None else None
    if view is None:
        return None
    body: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": "helexa",
        "type": "model",
        "display_name": name,
        "created_at": CREATED_AT,
        "state": state_of(view),
        "replicas": len(view.replicas),
    }
    if name != model_id:
        body["root"] = model_id
    if view.config.aliases:
        body["aliases"] = list(view.config.aliases)
    context = context_tokens(view)
    if context is not None:
        body |= {"context_length": context, "context_window": context, "max_model_len": context}
    capability = view.replicas[0].capability if view.replicas else view.capability
    if capability is not None:
        body["capabilities"] = _capabilities(capability)
        if capability.embedding_dimensions is not None:
            body["embedding_dimensions"] = capability.embedding_dimensions
    return body


def context_tokens(view: ModelView) -> int | None:
    """Return the context that every replica has: the tightest one wins; None when unknown."""
    known = [
        replica.capability.context_tokens
        for replica in view.replicas
        if replica.capability.context_tokens is not None
    ]
    if known:
        return min(known)
    return view.capability.context_tokens if view.capability is not None else None


def state_of(view: ModelView) -> str:
    """Return one word for a model: loaded, loading, failed or unloaded."""
    if view.replicas:
        return "loaded"
    if view.loading:
        return "loading"
    comes = view.loadable or view.expected
    return "failed" if view.because and not comes else "unloaded"


def _capabilities(capability: ModelCapability) -> list[str]:
    names = [workload.value for workload in capability.workloads]
    flags = {"tools": capability.tools, "json_schema": capability.json_schema}
    return names + [name for name, has in flags.items() if has]
