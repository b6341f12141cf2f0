"""What an operator wants of a model by the admin API: load it, unload it, pin it, unpin it.

They change nothing by themselves: the control loop loads and unloads by them.
"""

from collections.abc import Callable, Mapping
from typing import Final

from helexa.cortex.admin.writes import Change, Json, WriteBody
from helexa.cortex.observe.views import model_state
from helexa.cortex.orchestrator.events import Event, ModelPinned, ModelUnwanted, ModelWanted
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId

STAYS_AWAY: Final = (
    "it is unloaded everywhere and stays so, min_replicas included, until a request or"
    " `helexa models load` asks for it"
)


class ModelBody(WriteBody, frozen=True, kw_only=True):
    """Which model, by id or alias; ids have slashes, so they are not in the path."""

    model: str


Wanting = Callable[[ModelView, str], tuple[str, Event] | Refusal]
"""From a model and a cause to what will come of it, and the event that says so."""


def load(model: ModelView, cause: str) -> tuple[str, Event] | Refusal:
    """Want a replica now; it leaves again when it has been idle for its keep-alive."""
    model_id = model.config.id
    if model.unplaceable:
        return Refusal(ErrorCode.SERVICE_UNAVAILABLE, model.because, param="model")
    told = "it is loaded already" if model.replicas else "it is being loaded"
    return told, ModelWanted(model_id, cause)


def unload(model: ModelView, cause: str) -> tuple[str, Event] | Refusal:
    """Unload it everywhere, after the requests that run."""
    return STAYS_AWAY, ModelUnwanted(model.config.id, cause)


def pin(model: ModelView, cause: str) -> tuple[str, Event] | Refusal:
    """Keep it: it is never evicted and never leaves for being idle."""
    told = "it is kept until it is unpinned; a restart of the cortex changes nothing"
    return told, ModelPinned(model.config.id, pinned=True, cause=cause)


def unpin(model: ModelView, cause: str) -> tuple[str, Event] | Refusal:
    """Let it go again where its own rules let it."""
    return "it may go again by its own rules", ModelPinned(
        model.config.id, pinned=False, cause=cause
    )


WANTINGS: Final[dict[str, Wanting]] = {"load": load, "unload": unload, "pin": pin, "unpin": unpin}


def wanting(snapshot: Callable[[], FleetSnapshot], want: Wanting) -> Change[ModelBody]:
    """Return the change that wants something of the model in the body."""

    def change(_path: Mapping[str, str], body: ModelBody) -> tuple[Json, list[Event]] | Refusal:
        now = snapshot()
        model = now.models.get(now.names.get(body.model, ModelId("")))
        if model is None:
            return unknown_model(body.model)
        outcome = want(model, body.cause)
        if isinstance(outcome, Refusal):
            return outcome
        told, event = outcome
        return {"id": model.config.id, "state": model_state(model), "because": told}, [event]

    return change


def unknown_model(name: str) -> Refusal:
    """Say that there is no such model, and where the names are."""
    because = f"no model is called {name[:128]!r}; GET /api/v1/models lists them"
    return Refusal(ErrorCode.MODEL_NOT_FOUND, because, param="model")
