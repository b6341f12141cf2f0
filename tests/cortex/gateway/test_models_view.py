"""The models as callers see them."""

from dataclasses import replace
from datetime import datetime

import msgspec

from helexa.cortex.gateway import models_view
from helexa.cortex.orchestrator.snapshot import ModelView
from tests.fakes.fleet import CHAT, model
from tests.fakes.gateway import snapshot_of


def test_models_and_aliases_are_listed_with_what_is_known() -> None:
    """R3.34: a superset of the OpenAI object."""
    listing = models_view.listing(snapshot_of("n1", "n2"))
    assert [item["id"] for item in listing["data"]] == ["alias", "m"]
    found = listing["data"][1]
    assert found["object"] == "model"
    assert (found["state"], found["replicas"], found["aliases"]) == ("loaded", 2, ["alias"])
    assert found["context_length"] == found["max_model_len"] == 4096
    assert found["capabilities"] == ["chat", "completion"]
    assert listing["data"][0]["root"] == "m"


def test_the_listing_is_one_page_to_anthropics_clients() -> None:
    listing = models_view.listing(snapshot_of("n1"))
    assert (listing["first_id"], listing["last_id"], listing["has_more"]) == ("alias", "m", False)
    found = listing["data"][0]
    assert (found["type"], found["display_name"]) == ("model", "alias")
    created = datetime.fromisoformat(found["created_at"])
    assert created.timestamp() == found["created"]
    empty = models_view.listing(replace(snapshot_of("n1"), names={}))
    assert (empty["data"], empty["first_id"], empty["last_id"]) == ([], None, None)


def test_a_model_that_was_never_loaded_shows_what_is_known_of_it_and_no_more() -> None:
    """Lesson 43: a capability that nobody knows is left out, not told as false."""
    known = msgspec.structs.replace(CHAT, tools=True, json_schema=None)
    entry = models_view.entry(snapshot_of(capability=known), "m") or {}
    assert (entry["replicas"], entry["capabilities"]) == (0, ["chat", "completion", "tools"])
    assert entry["context_length"] == 4096


def test_states_are_one_word() -> None:
    for snapshot, state in [
        (snapshot_of("n1"), "loaded"),
        (snapshot_of(loading=True), "loading"),
        (snapshot_of(), "failed"),
    ]:
        assert models_view.state_of(snapshot.models["m"]) == state
    on_demand = ModelView(config=model(), because="it is not loaded", loadable=True)
    assert models_view.state_of(on_demand) == "unloaded", "it comes when it is asked for"
    to_come = ModelView(config=model(), because="waits for n1", expected=True)
    assert models_view.state_of(to_come) == "unloaded", "so does this, once its neuron is back"


def test_what_is_unknown_is_left_out() -> None:
    assert models_view.entry(snapshot_of("n1"), "nope") is None
    assert "embedding_dimensions" not in (models_view.entry(snapshot_of("n1"), "m") or {})
