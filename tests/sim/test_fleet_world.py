"""The simulated world: seeds, lost messages, restarts; what must hold is checked at every step."""

import pytest

from helexa.protocol.control import LoadModel
from tests.fakes.fleet import GIB, model
from tests.fakes.fleet_world import FleetWorld
from tests.fakes.neuron_model import ModelNeuron

SEEDS = range(25)


def _world(seed: int, loss: float = 0.0) -> FleetWorld:
    world = FleetWorld(seed, loss=loss)
    world.want(model("a"), model("b"), model("c"))
    for name in ("n1", "n2"):
        world.add(ModelNeuron(name, budget_bytes=2 * GIB))
    return world


def _all_up(world: FleetWorld) -> bool:
    return all(world.replicas(name) for name in "abc")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fleet_converges_and_then_falls_silent(seed: int) -> None:
    """R2.28, R2.35: every configured model is loaded once, and nothing more is asked."""
    world = _world(seed)
    world.run_until(lambda: _all_up(world), 60)
    asked = len(world.provisions)
    assert sum(isinstance(p.command, LoadModel) for p in world.provisions) == 3
    world.run(120)
    assert len(world.provisions) == asked
    assert sum(len(n.loads_started) for n in world.neurons.values()) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_messages_are_repaired(seed: int) -> None:
    world = _world(seed, loss=0.3)
    world.run(60)
    world.loss = 0.0
    world.run_until(lambda: _all_up(world), 400)
    world.run(60)
    asked = len(world.provisions)
    world.run(120)
    assert len(world.provisions) == asked, "converged and silent"


@pytest.mark.parametrize("seed", SEEDS)
def test_cortex_restarts_load_and_unload_nothing(seed: int) -> None:
    """A register report is the truth: a new cortex finds all it wants already there."""
    world = _world(seed)
    world.run_until(lambda: _all_up(world), 60)
    loads = [list(n.loads_started) for n in world.neurons.values()]
    for _ in range(3):
        world.restart_cortex()
        world.run_until(lambda: _all_up(world), 30)
        world.run(30)
    assert [list(n.loads_started) for n in world.neurons.values()] == loads


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_neurons_models_are_loaded_elsewhere(seed: int) -> None:
    world = _world(seed)
    for neuron in world.neurons.values():
        neuron.budget_bytes = 4 * GIB
    world.add(ModelNeuron("n3", budget_bytes=4 * GIB))
    world.run_until(lambda: _all_up(world), 60)
    victim = world.replicas("a")[0]
    world.cut(victim)
    assert victim not in world.replicas("a"), "a closed socket means gone at once"
    world.run_until(lambda: _all_up(world), 120)
    assert all(victim not in world.replicas(name) for name in "abc")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_flapping_link_moves_and_reloads_nothing(seed: int) -> None:
    world = _world(seed)
    world.run_until(lambda: _all_up(world), 60)
    where = {name: world.replicas(name) for name in "abc"}
    loads = sum(len(n.loads_started) for n in world.neurons.values())
    for _ in range(30):
        world.cut("n1")
        world.run(1.0)
        world.connect("n1")
        world.run(1.0)
    assert {name: world.replicas(name) for name in "abc"} == where
    assert sum(len(n.loads_started) for n in world.neurons.values()) == loads


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_neuron_gets_its_models_back(seed: int) -> None:
    """R2.42: recovery after a neuron restart."""
    world = _world(seed)
    world.run_until(lambda: _all_up(world), 60)
    world.cut("n1")
    world.neurons["n1"].restart()
    world.run(2.0)
    world.connect("n1")
    world.run_until(lambda: _all_up(world), 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crashed_model_is_loaded_again(seed: int) -> None:
    world = _world(seed)
    world.run_until(lambda: _all_up(world), 60)
    holder = world.neurons[world.replicas("b")[0]]
    holder.crash_model(next(m for m in holder.models if m == "b"))
    world.run(1.0)
    world.run(HEARTBEAT_MARGIN_S)
    world.run_until(lambda: _all_up(world), 120)


@pytest.mark.parametrize("seed", SEEDS)
def test_chaos_ends_in_order(seed: int) -> None:
    """Cuts, restarts of both sides, crashes and losses; then peace, and the fleet is whole."""
    world = _world(seed, loss=0.1)
    for _ in range(40):
        name = world.random.choice(["n1", "n2"])
        neuron = world.neurons[name]
        match world.random.randrange(5):
            case 0:
                world.cut(name)
                world.run(world.random.random() * 5)
                world.connect(name)
            case 1:
                world.cut(name)
                neuron.restart()
                world.connect(name)
            case 2:
                world.restart_cortex()
            case 3:
                up = [m for m, held in neuron.models.items() if held.state == "loaded"]
                if up:
                    neuron.crash_model(world.random.choice(up))
            case _:
                pass
        world.run(world.random.random() * 10)
    world.loss = 0.0
    for name in world.neurons:
        if name not in world.connections:
            world.connect(name)
    world.run_until(lambda: _all_up(world), 700)


HEARTBEAT_MARGIN_S = 6.0
