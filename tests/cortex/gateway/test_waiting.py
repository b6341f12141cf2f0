"""Waiting for a seat or a model, as scripts: who is let in, when, and what the others are told."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.orchestrator.events import ModelWanted
from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.snapshot import WAITING_PER_REPLICA_MAX, FleetSnapshot, Replica
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import NeuronId
from helexa.protocol.ports import ANONYMOUS, Principal
from tests.fakes.fleet import CHAT
from tests.fakes.gateway import CHUNK, DONE, Caller, FakeNeuron, Settings, World, snapshot_of

ANSWER = b'{"choices":[{"message":{"content":"hi"}}]}'
ROOM = CHAT.seats + WAITING_PER_REPLICA_MAX


class ByHeader:
    """Whoever says who he is, is it; others are anonymous."""

    def authenticate(self, credential: bytes | None) -> Principal | Refusal:
        return Principal(key_id=credential.decode()) if credential else ANONYMOUS


def crowded(*names: str, taken: int = ROOM, router: Router | None = None, **settings: Any) -> World:
    """A world in which each replica has `taken` requests."""
    names = names or ("n1",)
    settings = {"requests_in_flight_max": 100, **settings}
    world = World(*names, authenticator=ByHeader(), settings=Settings(**settings), router=router)
    for _ in range(taken * len(names)):
        ask(world, "filler")
    return world


def ask(world: World, key: str = "", **fields: Any) -> Caller:
    return world.ask(headers={b"x-api-key": key.encode()} if key else {}, **fields)[1]


def jobs(world: World) -> list[str]:
    return [job.head.principal for neuron in world.neurons.values() for job in neuron.jobs]


def finish(world: World, index: int = 0, neuron: str = "n1") -> None:
    world.job(neuron, index).answer(ANSWER)
    world.carry()


def test_a_request_waits_in_the_gateway_until_another_one_ends() -> None:
    """The neuron's own queue only absorbs races: no more than two go past its seats."""
    world = crowded()
    caller = ask(world, "a")
    assert len(jobs(world)) == ROOM == CHAT.seats + 2
    assert world.pipeline.room.queued == 1
    finish(world)
    assert (len(jobs(world)), world.pipeline.room.queued) == (ROOM + 1, 0)
    finish(world, ROOM)
    assert caller.body == ANSWER


@pytest.mark.parametrize("by", ["snapshot", "sweep", "end"])
def test_a_plug_in_that_fails_over_one_that_waits_keeps_nobody_else_waiting(by: str) -> None:
    """It ended the gateway's sweep for good, and with it all keepalives and deadlines."""

    def may_use(request: RoutingRequest, _replica: Replica) -> bool:
        if request.principal == "bad" and world.now_s > 1000.0:
            raise RuntimeError("no such tenant")
        return True

    world = crowded(router=Router(may_use=may_use))
    bad = ask(world, "bad")
    ask(world, "good")
    assert world.pipeline.room.queued == 2
    world.now_s += 1.0
    if by == "end":
        finish(world)
        finish(world, 1)
    else:
        world.snapshot = snapshot_of("n1", "n2")
        world.neurons[NeuronId("n2")] = FakeNeuron("n2")
        world.pipeline.sweep() if by == "sweep" else world.pipeline.room.wake()
        world.carry()
    assert world.pipeline.room.queued == 0
    assert (bad.status, bad.error["code"]) == (500, "internal_error")
    assert "tenant" not in bad.error["message"], "details are for the log"
    assert "good" in jobs(world)
    assert "bad" not in jobs(world)


def test_a_held_request_over_which_a_plug_in_fails_leaves_alone() -> None:
    def may_use(_request: RoutingRequest, _replica: Replica) -> bool:
        raise RuntimeError("no such tenant")

    world = World("n1", router=Router(may_use=may_use))
    world.snapshot = snapshot_of(loading=True)
    callers = [world.ask()[1] for _ in range(2)]
    assert world.pipeline.room.held == 2
    world.publish(snapshot_of("n1"))
    assert [caller.status for caller in callers] == [500, 500]
    assert (world.pipeline.room.held, len(world.pipeline)) == (0, 0)


def test_interactive_work_of_a_key_with_little_goes_first() -> None:
    world = crowded(queue_requests_max=8)
    ask(world, "filler")
    ask(world, "bulk", max_tokens=500)
    ask(world, "a")
    ask(world)
    order = []
    for index in range(3):
        finish(world, index)
        order.append(jobs(world)[-1])
    assert order == ["a", "filler", "bulk"]
    for index in range(3, 9):
        finish(world, index)
    assert jobs(world)[-1] == "anonymous"


def test_who_comes_while_others_wait_does_not_overtake_them() -> None:
    world = crowded("n1", taken=ROOM)
    first = ask(world, "a")
    world.snapshot = snapshot_of("n1", "n2")
    world.neurons |= World("n2").neurons
    second = ask(world, "a")
    assert world.pipeline.room.queued == 2
    world.publish(world.snapshot)
    assert [len(neuron.jobs) for neuron in world.neurons.values()] == [ROOM, 2]
    for index, caller in enumerate((first, second)):
        finish(world, index, "n2")
        assert caller.body == ANSWER


def test_a_full_line_is_429_with_the_time_that_it_takes() -> None:
    """Lesson 21, lesson 2."""
    world = crowded(queue_requests_max=4)
    world.now_s += 10.0
    finish(world)
    ask(world, "filler")
    for _ in range(4):
        ask(world, "a")
    caller = ask(world, "a")
    assert (caller.status, caller.error["code"]) == (429, "rate_limit_exceeded")
    # Six at work end at 0.6 a second, as the one that was seen: four that wait take 6.7 s.
    assert "retry-after: 7" in caller.text


def test_a_wait_for_a_seat_is_bounded() -> None:
    """Lesson 21: a plain one is a clean 429; a stream was kept alive, and is told in it."""
    world = crowded(queue_wait_s=5)
    plain, stream = ask(world, "a"), ask(world, "a", stream=True)
    world.later(2.5)
    assert stream.body == b": keep-alive\n\n"
    world.later(2.5)
    assert (plain.status, plain.error["code"]) == (429, "rate_limit_exceeded")
    assert "no seat came free in 5 s" in plain.error["message"]
    assert (stream.error["code"], stream.cut_off) == ("rate_limit_exceeded", True)
    assert world.pipeline.room.queued == 0


def test_a_caller_that_leaves_the_line_is_never_sent_to_a_neuron() -> None:
    """Lesson 22."""
    world = crowded()
    exchange, _ = world.ask()
    exchange.leave()
    assert world.pipeline.room.queued == 0
    finish(world)
    assert len(jobs(world)) == ROOM
    assert [record.outcome for record in world.records] == [Outcome.CANCELLED, Outcome.OK]


def test_anonymous_callers_leave_the_last_seat_to_those_with_a_key() -> None:
    """Lesson 24."""
    world = crowded(taken=CHAT.seats - 1)
    nobody = ask(world)
    assert world.pipeline.room.queued == 1
    assert ask(world, "a").text == ""
    assert jobs(world)[-1] == "a"
    for index in range(2):
        finish(world, index)
    assert jobs(world)[-1] == "anonymous"
    finish(world, -1)
    assert nobody.body == ANSWER


def test_where_nobody_has_a_key_no_seat_is_kept() -> None:
    world = World("n1")
    for _ in range(CHAT.seats):
        world.ask()
    assert len(jobs(world)) == CHAT.seats


def test_a_key_with_as_many_requests_as_it_may_have_is_429() -> None:
    """Lesson 23: and others are not."""
    world = crowded(taken=0, key_requests_max=2)
    for _ in range(2):
        ask(world, "a")
    refused = ask(world, "a")
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert "retry-after: 2" in refused.text
    ask(world, "b")
    assert jobs(world) == ["a", "a", "b"]
    finish(world)
    ask(world, "a")
    assert jobs(world)[-1] == "a"


def test_who_waits_is_sent_away_when_the_server_stops() -> None:
    """Lesson 27: 503 shutting_down with Retry-After 15; what is at work may finish."""
    world = crowded(taken=ROOM)
    waiting = ask(world, "a")
    world.pipeline.drain()
    assert (waiting.status, waiting.error["code"]) == (503, "shutting_down")
    assert "retry-after: 15" in waiting.text
    for index in range(ROOM):
        finish(world, index)
    assert len(world.pipeline) == 0


def test_held_requests_are_sent_away_when_the_server_stops() -> None:
    world = World("n1")
    world.snapshot = snapshot_of(loading=True)
    _, held = world.ask()
    world.pipeline.drain()
    assert (held.status, held.error["code"]) == (503, "shutting_down")
    assert (world.pipeline.room.held, len(world.pipeline)) == (0, 0)


def test_a_model_that_goes_away_turns_the_line_into_held_requests() -> None:
    world = crowded()
    caller = ask(world, "a")
    world.publish(snapshot_of(loading=True))
    assert (world.pipeline.room.queued, world.pipeline.room.held) == (0, 1)
    world.neurons |= World("n2").neurons
    world.publish(snapshot_of("n2"))
    world.job("n2").answer(ANSWER)
    assert caller.body == ANSWER
    world.publish(snapshot_of())
    assert world.pipeline.room.held == 0


def test_a_model_that_can_no_longer_be_had_ends_the_line_with_the_reason() -> None:
    world = crowded()
    caller = ask(world, "a")
    world.publish(snapshot_of())
    assert (caller.status, caller.error["code"]) == (503, "service_unavailable")
    assert world.pipeline.room.queued == 0


def test_held_requests_that_find_no_seat_stand_in_line() -> None:
    world = World("n1")
    world.settings.requests_held_max = 8
    world.snapshot = snapshot_of(loading=True)
    callers = [world.ask()[1] for _ in range(8)]
    world.publish(snapshot_of("n1"))
    assert (world.pipeline.room.held, world.pipeline.room.queued) == (0, 2)
    for index in range(8):
        finish(world, index)
    assert all(caller.body == ANSWER for caller in callers)


def test_a_line_whose_requests_all_fail_at_once_ends_without_recursion() -> None:
    world = crowded(queue_requests_max=256, requests_in_flight_max=1000)
    callers = [ask(world, "a") for _ in range(200)]
    world.neurons["n1"].die()
    world.later(1.0)
    assert {caller.error["code"] for caller in callers} == {"upstream_connection_error"}
    assert (len(world.pipeline), world.pipeline.inflight.total) == (0, 0)


def test_a_ticket_for_which_the_free_seat_is_of_no_use_holds_up_nobody() -> None:
    """A request that n1 gave up waits for n2; the seat that is free on n1 goes to the next."""
    world = crowded("n1", "n2")
    victim = world.job("n1", 0)
    victim.give_up("upstream_connection_error", retry_elsewhere=True)
    world.carry()
    other = ask(world, "a")
    world.later(0.3)
    assert world.pipeline.room.queued == 1
    assert len(world.neurons["n1"].jobs) == ROOM + 1
    finish(world, ROOM, "n1")
    assert other.body == ANSWER
    finish(world, 0, "n2")
    assert len(world.neurons["n2"].jobs) == ROOM + 1
    assert json.loads(bytes(world.job("n2").body)) == json.loads(bytes(victim.body))


def test_a_replica_with_one_seat_may_serve_anonymous_callers() -> None:
    one_seat = msgspec.structs.replace(CHAT, seats=1)
    world = World("n1", authenticator=ByHeader(), capability=one_seat)
    ask(world, "a")
    finish(world)
    nobody = ask(world, stream=True)
    world.job().begin()
    world.job().say(CHUNK + DONE)
    world.job().end()
    assert nobody.complete


def reseated(useful_seats: int | None) -> FleetSnapshot:
    """The fleet of `n1`, whose replica is given so many seats of those that its engine has."""
    made = snapshot_of("n1")
    (replica,) = made.models["m"].replicas
    view = replace(made.models["m"], replicas=(replace(replica, useful_seats=useful_seats),))
    return replace(made, models={"m": view}, memo={})


def test_a_replica_is_given_no_more_than_was_learned_to_be_of_use() -> None:
    """Its engine has more seats, so what goes past them would be at work, not in line."""
    world = crowded(taken=0, queue_requests_max=8)
    world.publish(reseated(2))
    for _ in range(5):
        ask(world, "a")
    assert (len(jobs(world)), world.pipeline.room.queued) == (2, 3)
    finish(world)
    assert (len(jobs(world)), world.pipeline.room.queued) == (3, 2)


def test_seats_that_are_given_back_are_filled_at_once_and_fewer_cut_nobody() -> None:
    world = crowded(taken=0, queue_requests_max=8)
    world.publish(reseated(2))
    callers = [ask(world, "a") for _ in range(6)]
    world.publish(reseated(None))
    assert (len(jobs(world)), world.pipeline.room.queued) == (6, 0)
    world.publish(reseated(2))
    ask(world, "a")
    for index in range(6):
        finish(world, index)
    assert [caller.body for caller in callers] == [ANSWER] * 6
    assert len(jobs(world)) == 7


def test_anonymous_callers_leave_the_last_seat_of_those_that_are_of_use() -> None:
    world = crowded(taken=0)
    world.publish(reseated(2))
    ask(world, "a")
    nobody = ask(world)
    assert (len(jobs(world)), world.pipeline.room.queued, nobody.text) == (1, 1, "")


def test_a_request_is_held_while_the_neuron_of_its_model_is_on_its_way_back() -> None:
    """Right after a restart of cortex: held as for a model that loads, and bounded by it."""
    world = World("n1")
    away = snapshot_of()
    view = replace(away.models["m"], expected=True, because="waits for n1")
    world.snapshot = replace(away, models={"m": view}, memo={})
    _, caller = world.ask()
    assert (world.pipeline.room.held, caller.text) == (1, "")
    assert any(isinstance(report, ModelWanted) for report in world.reports)
    _, other = world.ask()
    world.publish(snapshot_of("n1"))
    finish(world, 0)
    assert caller.body == ANSWER
    world.publish(snapshot_of())
    finish(world, 1)
    assert other.body == ANSWER
    _, late = world.ask()
    assert (late.status, late.error["code"]) == (503, "service_unavailable")
