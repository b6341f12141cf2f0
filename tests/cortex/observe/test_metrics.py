"""The fleet's gauges. The names are a contract: dashboards depend on them."""

from helexa.cortex.observe.metrics import FleetMetrics
from helexa.cortex.orchestrator.events import NeuronGone, Tick
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.util.metrics import PrometheusMetrics
from tests.fakes.fleet import fleet, joined, model, register, status


def lines(metrics: PrometheusMetrics) -> set[str]:
    return set(metrics.render().decode().splitlines())


def test_neurons_and_instances_are_counted_by_state() -> None:
    metrics = PrometheusMetrics()
    observed = FleetMetrics(metrics)
    state = fleet(model("a"))
    state.apply(
        [
            joined(1, register("n1", status(model("a")))),
            joined(2, register("n2", status(model("a"), ModelState.LOADING))),
        ],
        10.0,
    )
    observed.update(state.snapshot(10.0))
    shown = lines(metrics)
    assert 'helexa_neurons{state="connected"} 2.0' in shown
    assert 'helexa_neurons{state="gone"} 0.0' in shown
    assert 'helexa_instances{model="a",state="loaded"} 1.0' in shown
    assert 'helexa_instances{model="a",state="loading"} 1.0' in shown
    assert 'helexa_replicas_desired{model="a"} 1.0' in shown

    state.apply([NeuronGone(NeuronId("n1"), 1, "closed")], 11.0)
    observed.update(state.snapshot(11.0))
    shown = lines(metrics)
    assert 'helexa_neurons{state="gone"} 1.0' in shown
    assert 'helexa_instances{model="a",state="loaded"} 0.0' in shown


def test_refused_newcomers_are_counted_once() -> None:
    metrics = PrometheusMetrics()
    observed = FleetMetrics(metrics)
    state = fleet()
    state.apply([joined(1, register("n1", epoch=1)), joined(2, register("n1", epoch=2))], 0.0)
    observed.update(state.snapshot(0.0))
    observed.update(state.snapshot(0.0))
    assert 'helexa_neuron_conflicts_total{neuron="n1"} 1.0' in lines(metrics)


def test_a_model_that_is_no_longer_wanted_is_shown_as_0() -> None:
    metrics = PrometheusMetrics()
    observed = FleetMetrics(metrics)
    observed.update(fleet(model("a")).snapshot(0.0))
    observed.update(fleet(model("b")).snapshot(0.0))
    assert 'helexa_replicas_desired{model="a"} 0.0' in lines(metrics)


def test_a_neuron_that_was_forgotten_does_not_look_silent_for_ever() -> None:
    metrics = PrometheusMetrics()
    observed = FleetMetrics(metrics)
    state = fleet()
    state.apply([joined(1, register("n1"))], 0.0)
    state.apply([NeuronGone(NeuronId("n1"), 1, "closed")], 7.0)
    observed.update(state.snapshot(7.0))
    assert 'helexa_neuron_heartbeat_age_seconds{neuron="n1"} 7.0' in lines(metrics)
    state.apply([Tick()], 10_000.0)
    observed.update(state.snapshot(10_000.0))
    assert 'helexa_neuron_heartbeat_age_seconds{neuron="n1"} 0.0' in lines(metrics)
