"""What replicas bear: found once, and again when they, the model or the learned are others."""

from dataclasses import replace

from helexa.cortex.orchestrator.bearing import Bearing
from helexa.cortex.orchestrator.demand import OBSERVATIONS_MIN, DemandState, Learned
from helexa.protocol.model import ModelCapability
from tests.fakes.fleet import model
from tests.fakes.routing import replica
from tests.fakes.views import neuron

NEURONS = {view.descriptor.id: view for view in (neuron("n1"), neuron("n2"))}
PAIR = (
    replica("n1", ModelCapability(seats=4)),
    replica("n2", ModelCapability(seats=9), active_requests=1),
)


def test_seats_are_the_mean_of_known_neurons_and_unknown_without_any() -> None:
    bearing, config = Bearing(), model()
    assert bearing.of(config, PAIR, NEURONS, Learned()) == (6, True)
    assert bearing.of(config, PAIR[:1], NEURONS, Learned()) == (4, False)
    assert bearing.of(config, (replica("gone"),), NEURONS, Learned()) == (0, False)
    assert bearing.of(config, (), NEURONS, Learned()) == (0, False)


def test_other_replicas_and_other_figures_are_looked_at_anew_and_the_same_are_not() -> None:
    bearing, config, learned = Bearing(), model(), Learned()
    assert bearing.of(config, PAIR, NEURONS, learned) == (6, True)
    assert bearing.of(config, PAIR, {}, learned) == (6, True), "kept"
    quiet = (PAIR[0], replace(PAIR[1], active_requests=0))
    assert bearing.of(config, quiet, NEURONS, learned) == (6, False)
    state = DemandState()
    for concurrency, speed in ((2, 90.0), (8, 100.0)):
        for _ in range(OBSERVATIONS_MIN):
            state.worked(("echo", "cpu unknown 8"), concurrency, speed)
    knee = Learned({}, state.throughput)
    assert bearing.of(config, quiet, NEURONS, knee) == (2, False)
    bearing.clear()
    assert bearing.of(config, quiet, {}, knee) == (0, False)
