"""Models as the admin API loads, unloads and pins them."""

import pytest

from helexa.cortex.admin.wanting import WANTINGS, ModelBody, wanting
from helexa.cortex.orchestrator.events import Event, ModelPinned, ModelUnwanted, ModelWanted
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from tests.fakes.fleet import fleet, joined, model, register, status

M = ModelId("m")


def snapshot() -> FleetSnapshot:
    state = fleet(model("m", aliases=("mm",)), model("down", engine="vllm"))
    state.apply([joined(1, register("n1", status(model("m"))))], 0.0)
    return state.snapshot(0.0)


def change(name: str, model_name: str) -> tuple[dict[str, object], list[Event]] | Refusal:
    made = wanting(snapshot, WANTINGS[name])
    return made({}, ModelBody(model=model_name, cause="why"))


@pytest.mark.parametrize(("name", "event", "told"), [
    ("load", ModelWanted(M, "why"), "is loaded already"),
    ("unload", ModelUnwanted(M, "why"), "until a request or `helexa models load` asks for it"),
    ("pin", ModelPinned(M, pinned=True, cause="why"), "until it is unpinned"),
    ("unpin", ModelPinned(M, pinned=False, cause="why"), "by its own rules"),
])  # fmt: skip
def test_each_write_is_an_event_and_says_what_comes_of_it(
    name: str, event: Event, told: str
) -> None:
    outcome = change(name, "mm")
    assert not isinstance(outcome, Refusal)
    body, events = outcome
    assert events == [event]
    assert (body["id"], body["state"]) == ("m", "loaded")
    assert told in str(body["because"])


def test_a_model_that_fits_nowhere_is_refused_with_the_reason() -> None:
    outcome = change("load", "down")
    assert isinstance(outcome, Refusal)
    assert "does not allow engine vllm" in outcome.because


def test_an_unknown_model_is_refused() -> None:
    outcome = change("pin", "x" * 500)
    assert isinstance(outcome, Refusal)
    assert outcome.code is ErrorCode.MODEL_NOT_FOUND
    assert len(outcome.because) < 250
