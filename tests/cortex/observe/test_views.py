"""The fleet as plain values."""

import msgspec

from helexa.cortex.observe import views
from helexa.cortex.orchestrator.events import (
    HealthReported,
    ModelReported,
    NeuronGone,
    RequestOutcome,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth
from tests.fakes.fleet import GIB, expected_at_nine, fleet, joined, model, register, status

N1 = NeuronId("n1")


def served() -> FleetState:
    state = fleet(model("m", aliases=("mm",)))
    state.apply([joined(1, register("n1", status(model("m"))))], 0.0)
    return state


def test_a_served_model_shows_where_it_runs() -> None:
    (shown,) = views.models(served().snapshot(0.0))
    assert (shown["id"], shown["aliases"], shown["state"]) == ("m", ["mm"], "loaded")
    assert shown["replicas"] == [
        {
            "neuron": "n1", "healthy": True, "cordoned": False, "circuit": "closed", "seats": 4,
            "engine_seats": 4, "active_requests": 0, "memory_bytes": GIB, "tokens_per_second": None,
        }
    ]  # fmt: skip


def test_a_model_whose_every_replica_ails_is_degraded() -> None:
    state = served()
    failed = RequestOutcome(N1, ModelId("m"), ok=False, latency_ms=1.0)
    state.apply([failed, failed, failed], 1.0)
    (shown,) = views.models(state.snapshot(1.0))
    assert shown["state"] == "degraded"
    assert "model m is degraded: no healthy replica" in views.problems(state.snapshot(1.0))


def test_what_a_neuron_complains_of_is_a_problem() -> None:
    state = served()
    state.apply([HealthReported(N1, 1, NeuronHealth(problems=("disk full",)))], 1.0)
    assert views.problems(state.snapshot(1.0)) == ["neuron n1: disk full"]


def test_a_failed_model_tells_when_it_is_tried_again() -> None:
    state = served()
    failed = status(model("m"), ModelState.FAILED, failures=1, because="exit 1")
    state.apply([ModelReported(N1, 1, failed)], 10.0)
    (shown,) = views.models(state.snapshot(10.0))
    assert (shown["wanted"], shown["pinned"], shown["ready_in_s"]) == (1, False, None)
    assert (shown["state"], shown["next_attempt_in_s"]) == ("failed", 2.0)
    assert "exit 1" in shown["because"]


def test_what_is_loaded_ahead_tells_why_and_is_no_problem_where_it_fits_nowhere() -> None:
    state = expected_at_nine(ModelRules(min_replicas=0))
    assert views.problems(state.snapshot(0.0)) == ["no neuron is connected"]
    state.apply([joined(1, register("n1", status(model("m"))))], 1.0)
    (shown,) = views.models(state.snapshot(1.0))
    assert (shown["state"], shown["wanted"], shown["ahead"]) == ("loaded", 1, 1)
    assert shown["because"] == (
        "warm by forecast: wanted on weekdays 09:00-10:00, 4 of the last 5 days"
    )


def test_a_neuron_shows_memory_models_and_silence() -> None:
    (shown,) = views.neurons(served().snapshot(0.0), 7.5)
    assert shown["heard_s_ago"] == 7.5
    assert shown["memory"] == {"budget_bytes": 8 * GIB, "booked_bytes": GIB}
    assert shown["models"]["m"]["state"] == "loaded"


def test_a_whole_fleet_has_no_problems_and_a_broken_one_names_them() -> None:
    state = served()
    assert views.problems(state.snapshot(0.0)) == []
    state.apply([NeuronGone(N1, 1, "closed")], 1.0)
    assert views.problems(state.snapshot(1.0)) == [
        "no neuron is connected",
        "neuron n1 is gone",
        "model m is unloaded: its neuron n1 is not connected",
    ]


def test_counts_are_by_state() -> None:
    assert views.counts(served().snapshot(0.0)) == {
        "neurons": {"connected": 1}, "models": {"loaded": 1},
    }  # fmt: skip


def test_everything_shown_is_json() -> None:
    snapshot = served().snapshot(0.0)
    msgspec.json.encode([views.models(snapshot), views.neurons(snapshot, 0.0)])


def test_a_placement_is_explained_with_numbers() -> None:
    state = fleet(model("m"))
    state.apply([joined(1, register("n1", engines=("vllm",)))], 0.0)
    snapshot = state.snapshot(0.0)
    placement = views.placement_of(snapshot.models["m"], snapshot, 0.0)
    assert placement.neuron_id is None
    assert "does not allow engine echo" in placement.because()
