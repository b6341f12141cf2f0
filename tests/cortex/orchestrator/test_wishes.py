"""What should run, by config and by demand."""

from helexa.cortex.orchestrator.events import DesiredChanged, ModelWanted
from helexa.cortex.orchestrator.neurons import Neuron
from helexa.cortex.orchestrator.policy import DEMAND_S
from helexa.cortex.orchestrator.snapshot import Instance, ModelView
from helexa.cortex.orchestrator.wishes import Wishes
from helexa.protocol.ids import ModelId
from tests.fakes.fleet import model, register

M = ModelId("m")


def wishes(*, preload: bool = True) -> Wishes:
    made = Wishes(preload=preload)
    made.configure(DesiredChanged(models=(model(),), cause="config"))
    return made


def test_configured_models_are_desired_at_once() -> None:
    assert set(wishes().desired([], {})) == {"m"}


def test_without_preload_they_are_desired_from_their_first_request_on() -> None:
    made = wishes(preload=False)
    assert made.desired([], {}) == {}
    assert made.want(ModelWanted(M), 0.0)
    assert not made.want(ModelWanted(M), 1.0), "asked for already"
    assert set(made.desired([], {})) == {"m"}
    made.satisfied(M)
    holder = Neuron.registered(1, register("n1"), 0.0)
    holder.put(M, Instance(owned=True))
    assert set(made.desired([holder], {})) == {"m"}, "and stay so once they were loaded"


def test_a_demanded_model_that_is_not_configured_is_marked() -> None:
    made = wishes()
    known = {"x": ModelView(config=model("x"))}
    made.want(ModelWanted(ModelId("x"), "request-7"), 0.0)
    desired = made.desired([], known)[ModelId("x")]
    assert desired.demanded
    assert desired.cause == "request-7"


def test_demands_expire() -> None:
    made = wishes(preload=False)
    made.want(ModelWanted(M), 0.0)
    assert not made.expires(DEMAND_S - 1)
    assert made.expires(DEMAND_S)
    assert made.desired([], {}) == {}
