"""The one writer: batches, order, bounds, and one publication per turn."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from helexa.cortex.control_plane.loop import QUEUE_MAX, ControlLoop
from helexa.cortex.orchestrator.circuit import CircuitState
from helexa.cortex.orchestrator.commands import Command, Provision
from helexa.cortex.orchestrator.events import (
    CommandUndelivered,
    DesiredChanged,
    Event,
    ModelReported,
    NeuronBeat,
    NeuronHeard,
    RequestOutcome,
)
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from helexa.util.metrics import PrometheusMetrics
from tests.fakes.control_plane import recording_logger, turns
from tests.fakes.fleet import joined, model, register, status
from tests.fakes.gateway import World
from tests.fakes.waiting import until

N1, M = NeuronId("n1"), ModelId("m")
LOCAL_S = 20_000 * 86400.0


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[dict[str, Any]] = []
        self.commands: list[Command] = []
        self.metrics = PrometheusMetrics()
        self.published: list[FleetSnapshot] = []
        self.heard: list[NeuronHeard] = []
        self.loop = ControlLoop(
            FleetPolicy(),
            command_prefix="c",
            monotonic=lambda: self.now,
            local=lambda: self.now + LOCAL_S,
            metrics=self.metrics,
            logger=recording_logger(self.log),
        )
        self.loop.connect(self.commands.extend, lambda _response: None, lambda: self.heard)
        self.loop.subscribe(self.published.append)

    async def happen(self, *events: Event) -> None:
        for event in events:
            self.loop.report(event)
        await turns()


def beat(models: tuple[Any, ...] = (), connection: int = 1, load: int = 0) -> NeuronBeat:
    return NeuronBeat(N1, connection, NeuronHealth(), NeuronLoad(active_requests=load), models)


async def test_a_batch_is_applied_in_order_and_published_once() -> None:
    bench = Bench()
    await bench.happen(
        DesiredChanged(models=(model(),)),
        joined(1, register("n1")),
        ModelReported(N1, 1, status(model(), ModelState.LOADING)),
        ModelReported(N1, 1, status(model())),
    )
    assert len(bench.published) == 1
    assert bench.loop.snapshot() is bench.published[0]
    assert bench.published[0].models["m"].replicas


async def test_commands_are_dispatched_before_their_effect_is_published() -> None:
    bench = Bench()
    await bench.happen(DesiredChanged(models=(model(),)), joined(1, register("n1")))
    provisions = [c for c in bench.commands if isinstance(c, Provision)]
    assert len(provisions) == 1
    assert provisions[0].connection == 1
    instance = bench.loop.snapshot().neurons[N1].instances[M]
    assert instance.pending is not None
    assert instance.pending.command_id == provisions[0].command_id


async def test_nothing_is_published_where_nothing_changed() -> None:
    bench = Bench()
    await bench.happen(joined(1, register("n1")))
    await bench.happen(NeuronHeard(N1, 1, 101.0))
    assert len(bench.published) == 1


async def test_what_dispatching_reports_is_worked_off_in_the_same_turn() -> None:
    bench = Bench()

    def fail(commands: list[Command]) -> None:
        bench.commands.extend(commands)
        for command in commands:
            if isinstance(command, Provision):
                bench.loop.report(CommandUndelivered(N1, 1, command.command_id, "gone"))

    bench.loop.connect(fail, lambda _response: None, list)
    await bench.happen(DesiredChanged(models=(model(),)), joined(1, register("n1")))
    assert len([c for c in bench.commands if isinstance(c, Provision)]) == 1, "and does not spin"
    assert bench.loop.snapshot().neurons[N1].instances[M].pending is None


async def test_a_flood_of_heartbeats_is_merged_and_keeps_every_other_event() -> None:
    bench = Bench()
    await bench.happen(joined(1, register("n1")))
    for number in range(QUEUE_MAX * 2):
        bench.loop.report(beat((status(model()),), load=number))
        if number % 1000 == 0:
            name = f"m{number}"
            bench.loop.report(ModelReported(N1, 1, status(model(name), ModelState.LOADING)))
    assert len(bench.loop._queue) < QUEUE_MAX
    await turns()
    snapshot = bench.loop.snapshot()
    assert snapshot.neurons[N1].load.active_requests == QUEUE_MAX * 2 - 1, "the newest counts"
    assert b"helexa_control_events_merged_total" in bench.metrics.render()


async def test_model_events_are_never_dropped() -> None:
    bench = Bench()
    await bench.happen(joined(1, register("n1")))
    for number in range(QUEUE_MAX + 10):
        bench.loop.report(ModelReported(N1, 1, status(model(f"m{number % 900}"))))
    await turns()
    assert len(bench.loop.snapshot().models) == 900


async def test_good_outcomes_cost_no_turn_of_their_own() -> None:
    bench = Bench()
    await bench.happen(joined(1, register("n1", status(model()))))
    before = len(bench.published)
    for _ in range(10_000):
        bench.loop.report(RequestOutcome(N1, M, ok=True, latency_ms=1.0))
    await turns()
    assert len(bench.published) == before
    assert [event.count for event in bench.loop._succeeded.values()] == [10_000]


async def test_a_failed_outcome_counts_at_once() -> None:
    bench = Bench()
    await bench.happen(joined(1, register("n1", status(model()))))
    failed = RequestOutcome(N1, M, ok=False, latency_ms=1.0)
    await bench.happen(failed, failed, failed)
    assert bench.loop.snapshot().models["m"].replicas[0].circuit is CircuitState.OPEN


async def test_silence_is_noticed_by_the_clock_alone() -> None:
    bench = Bench()
    bench.loop.start()
    await bench.happen(joined(1, register("n1")))
    bench.now += 15.0
    await until(
        lambda: bench.loop.snapshot().neurons[N1].state == "gone", "the silent neuron is lost"
    )
    bench.loop.close()


async def test_frames_that_were_heard_keep_a_neuron_present() -> None:
    bench = Bench()
    await bench.happen(joined(1, register("n1")))
    bench.now += 15.0
    bench.heard = [NeuronHeard(N1, 1, bench.now - 1.0)]
    bench.loop._tick()
    assert bench.loop.snapshot().neurons[N1].state == "connected"
    bench.loop.close()


async def test_a_failing_subscriber_does_not_silence_the_others() -> None:
    bench = Bench()

    def fail(_snapshot: FleetSnapshot) -> None:
        raise RuntimeError("bug")

    bench.loop.subscribe(fail)
    late: list[FleetSnapshot] = []
    bench.loop.subscribe(late.append)
    await bench.happen(joined(1, register("n1")))
    assert len(late) == 1
    assert any(line["event"] == "subscriber_failed" for line in bench.log)


async def test_a_subscriber_that_left_hears_nothing() -> None:
    bench = Bench()
    late: list[FleetSnapshot] = []
    leave = bench.loop.subscribe(late.append)
    leave()
    await bench.happen(joined(1, register("n1")))
    assert late == []


async def test_a_bug_in_a_turn_is_told_and_the_loop_goes_on() -> None:
    bench = Bench()
    calls = 0

    def explode(_commands: list[Command]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("bug")

    bench.loop.connect(explode, lambda _response: None, list)
    await bench.happen(joined(1, register("n1")))
    assert any(line["event"] == "control_turn_failed" for line in bench.log)
    assert b"helexa_reconcile_errors_total 1.0" in bench.metrics.render()
    await bench.happen(joined(2, register("n2")))
    assert NeuronId("n2") in bench.loop.snapshot().neurons


async def test_a_bug_in_who_was_heard_does_not_stop_the_clock() -> None:
    """Else no silence would ever be noticed again."""
    bench = Bench()

    def fail() -> list[NeuronHeard]:
        raise RuntimeError("bug")

    bench.loop.connect(bench.commands.extend, lambda _response: None, fail)
    await bench.happen(joined(1, register("n1")))
    bench.loop.start()
    bench.now += 100.0
    await until(lambda: not bench.loop.snapshot().neurons[N1].connected, "its silence is noticed")
    bench.loop.close()
    assert any(line["event"] == "control_turn_failed" for line in bench.log)


async def test_closing_works_off_the_queue() -> None:
    bench = Bench()
    bench.loop.report(joined(1, register("n1")))
    bench.loop.close()
    assert N1 in bench.loop.snapshot().neurons
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    assert len(bench.published) == 1


async def test_the_time_on_the_wall_is_known_from_the_start_and_with_each_tick() -> None:
    bench = Bench()
    bench.loop.start()
    await turns()
    assert bench.loop.learned(0.0).hour == (100 + LOCAL_S) // 3600
    bench.now += 3600.0
    bench.loop._tick()
    assert bench.loop.learned(0.0).hour == (3700 + LOCAL_S) // 3600
    bench.loop.close()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_event_waits_for_the_heartbeats_that_may(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A heartbeat's turn has time; one that brings a model up, or answers a command, has none.

    uvloop's timers are no `asyncio.TimerHandle`: in production every event waited for the beat.
    """

    async def live() -> None:
        bench = Bench()
        await bench.happen(joined(1, register("n1", status(model(), ModelState.LOADING))))
        bench.loop.report(beat((status(model(), ModelState.LOADING),)))
        await turns()
        before = len(bench.published)
        await bench.happen(ModelReported(N1, 1, status(model())))
        assert bench.loop.snapshot().models["m"].replicas
        assert len(bench.published) == before + 1

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(live())


async def test_a_held_request_is_sent_in_the_very_turn_that_shows_its_model_ready() -> None:
    """No clock lies between them: a request waits for its model's load, and for nothing else."""
    bench, world = Bench(), World("n1")
    await bench.happen(joined(1, register("n1", status(model(), ModelState.UNLOADED))))
    world.publish(bench.loop.snapshot())
    bench.loop.subscribe(world.publish)
    world.ask()
    await bench.happen(ModelReported(N1, 1, status(model(), ModelState.LOADING)))
    assert (world.pipeline.room.held, world.neurons[N1].jobs) == (1, [])
    bench.loop.report(ModelReported(N1, 1, status(model())))
    await asyncio.sleep(0)
    assert (world.pipeline.room.held, len(world.neurons[N1].jobs)) == (0, 1)
