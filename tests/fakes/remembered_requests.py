"""Requests that a gateway remembers: one that was retried, one refused, one that runs."""

from helexa.cortex.gateway.decisions import Decided
from helexa.protocol.inference import Usage
from tests.fakes.gateway import World, snapshot_of


def _found(world: World) -> Decided:
    found = world.pipeline.decisions.find("req-1")
    assert found is not None
    return found


def retried() -> Decided:
    """Held until the model was there, refused by the first neuron, answered by the second."""
    world = World("n1", "n2")
    world.snapshot = snapshot_of(loading=True)
    world.ask()
    world.now_s += 2.5
    world.publish(snapshot_of("n1", "n2"))
    tried = next(neuron for neuron in world.neurons.values() if neuron.jobs)
    world.now_s += 0.25
    tried.jobs[0].give_up("service_unavailable", retry_elsewhere=True)
    world.carry()
    other = next(neuron for neuron in world.neurons.values() if neuron is not tried)
    world.now_s += 0.5
    other.jobs[0].answer(b"{}", usage=Usage(prompt_tokens=3, completion_tokens=5))
    return _found(world)


def refused() -> Decided:
    """Asked for a model that nobody has."""
    world = World("n1")
    world.ask(model="nope")
    return _found(world)


def running() -> Decided:
    """With a neuron, and not answered yet."""
    world = World("n1")
    world.ask(stream=True)
    return _found(world)
