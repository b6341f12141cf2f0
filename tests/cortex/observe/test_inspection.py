"""One neuron, one model, and a drain's progress, as tools read them."""

from typing import Any

from helexa.cortex.observe.inspection import model_detail, neuron_detail
from helexa.cortex.orchestrator.events import ModelReported, NeuronMarked
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import fleet, joined, model, register, status

N1, N2 = NeuronId("n1"), NeuronId("n2")
DRAIN = NeuronMarked(N1, cordoned=True, draining=True)


def neuron(state: FleetState, now: float = 0.0) -> dict[str, Any]:
    found = neuron_detail(state.snapshot(now), N1, now)
    assert found is not None
    return found


def test_a_neuron_is_told_with_its_marks_health_and_answers() -> None:
    """R2.6."""
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model()), epoch=7))], 0.0)
    told = neuron(state)
    assert (told["id"], told["epoch"], told["cordoned"], told["draining"]) == (
        "n1",
        7,
        False,
        False,
    )
    assert told["failed_applies"] == told["failed_spawns"] == {}
    assert told["answers"] == []
    assert told["drain"] is None
    assert neuron_detail(state.snapshot(0.0), NeuronId("x"), 0.0) is None


def test_a_drain_says_what_each_model_waits_for() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model()))), DRAIN], 0.0)
    (left,) = neuron(state)["drain"]["left"]
    assert left["model"] == "m"
    assert left["because"] == "0 of 1 replicas run elsewhere; there is no other neuron to take it"
    state.apply([joined(3, register("n3", engines=("vllm",)))], 0.0)
    (left,) = neuron(state)["drain"]["left"]
    assert left["because"].startswith("0 of 1 replicas run elsewhere; no neuron can take it now")
    state.apply([joined(2, register("n2"))], 1.0)
    (left,) = neuron(state, 1.0)["drain"]["left"]
    assert left["because"] == "0 of 1 replicas run elsewhere; next on n2"
    state.apply([ModelReported(N2, 2, status(model(), ModelState.LOADING))], 2.0)
    (left,) = neuron(state, 2.0)["drain"]["left"]
    assert left["because"] == "0 of 1 replicas run elsewhere; it loads on n2"
    state.apply([ModelReported(N2, 2, status(model()))], 3.0)
    (left,) = neuron(state, 3.0)["drain"]["left"]
    assert left["because"] == "is told to unload"
    going = status(model(), ModelState.UNLOADING, active_requests=2)
    state.apply([ModelReported(N1, 1, going)], 4.0)
    (left,) = neuron(state, 4.0)["drain"]["left"]
    assert left["because"] == "is unloaded once its 2 requests are done"
    state.apply([ModelReported(N1, 1, status(model(), ModelState.UNLOADED))], 5.0)
    assert neuron(state, 5.0)["drain"] == {"done": True, "requests": 0, "left": []}


def test_a_model_is_told_by_any_of_its_names_with_all_its_instances() -> None:
    state = fleet(model("m", aliases=("mm",), options={"rate": 2}))
    state.apply([joined(1, register("n1", status(model("m", options={"rate": 2}))))], 0.0)
    told = model_detail(state.snapshot(0.0), "mm", 0.0)
    assert told is not None
    assert (told["id"], told["options"], told["state"]) == ("m", {"rate": 2}, "loaded")
    assert told["instances"]["n1"]["state"] == "loaded"
    assert [each["neuron"] for each in told["placement"]["neurons"]] == ["n1"]
    assert model_detail(state.snapshot(0.0), "x", 0.0) is None
