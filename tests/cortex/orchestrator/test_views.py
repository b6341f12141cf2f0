"""What a model looks like across the fleet."""

import msgspec
import pytest

from helexa.cortex.control_plane.memory import events_of, memory_of
from helexa.cortex.orchestrator.events import (
    HealthReported,
    ModelReported,
    NeuronGone,
    NeuronMarked,
    Tick,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.ledger import Ledger
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.cortex.orchestrator.snapshot import EMPTY, ModelView, Outlook
from helexa.cortex.orchestrator.views import Picture, changed_views, names_of
from helexa.protocol.control import Register
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from helexa.protocol.neuron import NeuronHealth
from helexa.protocol.version import VERSION, VERSION_CONTINUES
from tests.fakes.fleet import CHAT, EMBEDDINGS, fleet, joined, model, register, status

N1 = NeuronId("n1")


def test_a_configured_model_without_neurons_is_unplaceable_and_says_why() -> None:
    view = fleet(model()).snapshot(0.0).models["m"]
    assert view.unplaceable
    assert view.because == "no neuron is connected"


def test_a_model_that_was_told_to_load_is_loading() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    view = state.snapshot(0.0).models["m"]
    assert view.loading
    assert "n1 was told to load it" in view.because


def test_progress_and_reason_of_a_load_are_shown() -> None:
    state = fleet(model())
    loading = status(model(), ModelState.LOADING, progress=0.5, because="fetching weights")
    state.apply([joined(1, register("n1", loading))], 0.0)
    view = state.snapshot(0.0).models["m"]
    assert (view.loading, view.progress, view.because) == (True, 0.5, "fetching weights")


def test_a_served_model_has_nothing_to_explain() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    view = state.snapshot(0.0).models["m"]
    assert (view.because, view.loading, view.unplaceable) == ("", False, False)
    assert view.states == {"n1": ModelState.LOADED}


def test_capability_survives_in_the_view_when_the_model_is_not_loaded() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model(), ModelState.UNLOADED, EMBEDDINGS)))], 0.0)
    assert state.snapshot(0.0).models["m"].capability == EMBEDDINGS


def test_all_neurons_waiting_after_failures_tells_the_next_attempt() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([ModelReported(N1, 1, status(model(), ModelState.FAILED, failures=1))], 10.0)
    view = state.snapshot(10.0).models["m"]
    assert view.next_attempt_s == 12.0
    assert not view.unplaceable


def test_a_neuron_that_just_vanished_is_waited_for() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model()))), NeuronGone(N1, 1, "closed")], 0.0)
    view = state.snapshot(0.0).models["m"]
    assert not view.unplaceable
    assert "n1 is not connected" in view.because


def restarted(*configs: ModelConfig, before: Register) -> FleetState:
    """A cortex that has just come back, and knows of the fleet of before."""
    old = fleet()
    old.apply([joined(1, before)], 0.0)
    state = fleet(*configs, rules=ModelRules(min_replicas=0))
    state.apply(events_of(memory_of(old.snapshot(0.0))), 0.0)
    return state


def test_after_a_restart_a_known_model_waits_for_a_neuron_that_may_take_it() -> None:
    state = restarted(model(), before=register("n1"))
    view = state.snapshot(0.0).models["m"]
    assert (view.expected, view.unplaceable, view.loadable) == (True, False, False)
    assert view.because == "waits for n1, which is not back since cortex restarted"
    state.apply([Tick()], REPLACE_AFTER_S)
    view = state.snapshot(REPLACE_AFTER_S).models["m"]
    assert (view.expected, view.unplaceable) == (False, True), "no longer than a neuron is given"


def test_after_a_restart_a_model_of_a_neuron_s_own_is_known_by_name() -> None:
    """It was not loaded when cortex stopped, and no config names it."""
    own = status(model(aliases=("mine",)), ModelState.FAILED, because="out of memory")
    snapshot = restarted(before=register("n1", own)).snapshot(0.0)
    assert snapshot.names["mine"] == "m"
    assert snapshot.models["m"].expected
    assert snapshot.models["m"].capability == CHAT


def test_after_a_restart_nobody_waits_for_a_neuron_that_cannot_have_the_model() -> None:
    state = restarted(model(), before=register("n1", engines=("vllm",)))
    view = state.snapshot(0.0).models["m"]
    assert (view.expected, view.unplaceable) == (False, True)


def test_after_a_restart_what_is_loaded_on_a_neuron_to_come_is_waited_for() -> None:
    """Also where its own marks would keep a further model off it."""
    state = restarted(model(), before=register("n1", status(model())))
    state.apply([NeuronMarked(N1, cordoned=True, draining=False)], 0.0)
    assert state.snapshot(0.0).models["m"].expected
    state.apply([joined(1, register("n1", status(model())))], 1.0)
    view = state.snapshot(1.0).models["m"]
    assert (view.expected, len(view.replicas)) == (False, 1)


def test_an_id_beats_an_alias_and_the_first_id_has_a_shared_alias() -> None:
    views = {
        "a": ModelView(config=model("a", aliases=("b", "shared"))),
        "b": ModelView(config=model("b", aliases=("shared",))),
    }
    assert names_of(views) == {"a": "a", "b": "b", "shared": "a"}


def test_a_model_of_which_no_config_is_known_is_not_offered() -> None:
    picture = Picture({}, {}, {}, Outlook(), 0.0)
    assert changed_views(picture, EMPTY, Ledger(), everything=True) == {}


def test_a_first_failure_is_waited_out_and_the_second_in_a_row_is_told() -> None:
    for failures, loading in ((1, True), (2, False), (7, False)):
        state = fleet(model())
        state.apply([joined(1, register("n1", status(model())))], 0.0)
        failed = status(
            model(),
            ModelState.FAILED,
            failures=failures,
            retry_after_s=5.0,
            because="exited with 3",
        )
        state.apply([ModelReported(N1, 1, failed)], 10.0)
        view = state.snapshot(10.0).models["m"]
        assert view.loading is loading
        assert "exited with 3" in view.because
        assert loading or view.next_attempt_s is not None


def test_a_neuron_s_problems_keep_nobody_from_what_runs_there() -> None:
    state = fleet(model(), model("other"))
    ill = NeuronHealth(problems=("model 'other' failed: exited with 3", "the disk is full"))
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([HealthReported(N1, 1, ill)], 1.0)
    (replica,) = state.snapshot(1.0).models["m"].replicas
    assert replica.healthy


@pytest.mark.parametrize("version", range(1, VERSION + 2))
def test_a_neuron_of_an_older_protocol_is_not_asked_to_continue_a_stream(version: int) -> None:
    """Its engine could, but it would tell a second id and role, and text that the caller has."""
    state = fleet(model())
    resumes = msgspec.structs.replace(CHAT, resume=True)
    told = status(model(), capability=resumes)
    state.apply([joined(1, register("n1", told, version=version))], 0.0)
    [replica] = state.snapshot(0.0).models["m"].replicas
    assert replica.capability.resume is (version >= VERSION_CONTINUES)
    assert msgspec.structs.replace(replica.capability, resume=True) == resumes
