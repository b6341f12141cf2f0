"""The bench of a large fleet: it measures what it says it does."""

from bench.fleet import CONFIGS, Fleet, Turns, batches, beat, models_of, register, replicas_of_each
from helexa.cortex.orchestrator import events as ev


def fleet(count: int = 50) -> Fleet:
    made = Fleet(count)
    made.turns(batches(range(count), 16, lambda n: ev.NeuronRegistered(n + 1, register(n))))
    made.desire()
    return made


def test_every_model_has_as_many_replicas_as_it_should_so_nothing_is_asked() -> None:
    made = fleet()
    snapshot = made.state.snapshot(0.0)
    counts = {len(snapshot.models[config.id].replicas) for config in CONFIGS}
    assert counts == {replicas_of_each(50)}
    assert not any(i.pending for n in snapshot.neurons.values() for i in n.instances.values())


def test_a_heartbeat_plans_nothing_and_is_seen() -> None:
    made = fleet()
    made.turn([])
    made.turn([ev.Tick()])
    before = made.state.snapshot(0.0)
    made.turn([beat(3, active=7)])
    after = made.state.snapshot(0.0)
    assert after.plan == before.plan
    assert after.neurons["n00003"].load.active_requests == 7
    (replica,) = [
        r for r in after.models[CONFIGS[models_of(3)[0]].id].replicas if r.neuron_id == "n00003"
    ]
    assert replica.active_requests == 7


def test_events_come_in_batches_and_are_counted() -> None:
    sizes = [len(batch) for batch in batches(range(10), 4, lambda n: ev.Tick())]
    assert sizes == [4, 4, 2]
    assert "2.00" in Turns(4, [0.001, 0.002, 0.003]).line("three turns")
