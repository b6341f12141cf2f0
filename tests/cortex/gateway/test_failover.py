"""Requests that their neuron gave up, as scripts: elsewhere, gone on with, or told."""

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Trailer, Usage
from tests.fakes import llama_stream as ls
from tests.fakes.fleet import CHAT
from tests.fakes.gateway import CHUNK, DONE, Caller, FakeNeuron, Job, Settings, World

RESUMES = msgspec.structs.replace(CHAT, resume=True)
ANSWER = b'{"choices":[{"message":{"content":"hi"}}]}'
NAMES = ("n1", "n2", "n3")
N1, M = NeuronId("n1"), ModelId("m")


def world_of(*names: str, **settings: Any) -> World:
    return World(*names, capability=RESUMES, settings=Settings(**settings))


def at_work(world: World) -> Job:
    """Return the request that a neuron got last."""
    jobs = [job for neuron in world.neurons.values() for job in neuron.jobs]
    return max(jobs, key=lambda job: job.number)


def begun(world: World, *pieces: str, **fields: Any) -> tuple[Caller, Job]:
    """Ask for a stream that has said these words."""
    _, caller = world.ask(stream=True, **fields)
    job = at_work(world)
    job.begin()
    if pieces:
        job.say(ls.role() + b"".join(ls.delta(content=piece) for piece in pieces))
    return caller, job


def go_on(job: Job, *pieces: str, usage: Usage | None = None) -> None:
    """Say the rest of a stream as a neuron does that was told what it continues."""
    job.begin()
    job.say(b"".join(ls.delta(content=piece) for piece in pieces) + ls.finish() + DONE)
    job.end(usage)


def chunks(caller: Caller) -> list[Any]:
    return ls.payloads(caller.body)


# ── before the first byte ─────────────────────────────────────────────────────────────────────


def test_any_answer_of_an_engine_is_final() -> None:
    """Lesson 39: failover on transport errors only; a 429 or a 500 is passed on."""
    for status in (400, 429, 500, 503):
        world = world_of("n1", "n2")
        _, caller = world.ask()
        at_work(world).answer(b'{"error":{"code":"x","message":"no"}}', status)
        world.carry()
        assert caller.status == status
        assert sum(len(neuron.jobs) for neuron in world.neurons.values()) == 1


def test_all_requests_of_a_neuron_that_dies_before_their_first_byte_are_tried_elsewhere() -> None:
    """F01: victims before the first token, 100 % retried."""
    world = world_of("n1", "n2", requests_in_flight_max=64)
    callers = [world.ask(stream=number % 2 == 0)[1] for number in range(8)]
    lost = len(world.neurons["n1"].jobs)
    assert lost
    world.neurons["n1"].die()
    world.carry()
    for job in world.neurons["n2"].jobs:  # those that wait for a seat are added meanwhile
        if job.head.stream:
            job.begin()
            job.say(CHUNK + DONE)
            job.end()
        else:
            job.answer(ANSWER)
        world.carry()
    assert all(caller.complete for caller in callers)
    assert [record.attempts for record in world.records].count(2) == lost


def on_connection(number: int, snapshot: FleetSnapshot) -> FleetSnapshot:
    view = snapshot.models[M]
    replicas = tuple(replace(each, connection=number) for each in view.replicas)
    return replace(snapshot, models=MappingProxyType({M: replace(view, replicas=replicas)}))


@pytest.mark.parametrize("lost", [True, False])
def test_who_was_lost_with_its_connection_is_tried_on_its_next_one_and_who_failed_is_not(
    lost: bool,
) -> None:
    """The other neuron is full meanwhile."""
    one_seat = msgspec.structs.replace(CHAT, seats=1)
    world = World("n1", "n2", capability=one_seat)
    world.publish(on_connection(1, world.snapshot))
    for _ in range(4):
        world.ask()
    assert [len(neuron.jobs) for neuron in world.neurons.values()] == [2, 2], (
        "one each, and one that waits there"
    )
    if lost:
        world.neurons[N1].die()
    else:
        world.job("n1").give_up("engine_crash", retry_elsewhere=True)
    world.carry()
    world.neurons[N1] = FakeNeuron("n1")
    world.publish(world.snapshot)
    assert not world.neurons[N1].jobs, "the news of its new connection are not out yet"
    world.publish(on_connection(2, world.snapshot))
    assert bool(world.neurons[N1].jobs) is lost


def test_tries_are_a_share_of_all_requests_and_a_reserve() -> None:
    """The trouble of a fleet is not multiplied by those who ask it."""
    world = world_of(*NAMES, retry_percent=25)
    world.pipeline.failover.budget.left = 1.0
    tried = 0
    for _ in range(40):
        _, caller = world.ask()
        first = at_work(world)
        first.give_up("upstream_connection_error", retry_elsewhere=True)
        world.carry()
        if at_work(world) is not first:
            tried += 1
            at_work(world).answer(ANSWER)
            world.carry()
        else:
            assert (caller.status, caller.error["code"]) == (502, "upstream_connection_error")
    assert tried == 1 + 40 // 4


def test_a_request_that_two_engines_died_of_is_refused_for_a_minute() -> None:
    """F37, lesson 28: on whichever neurons; others are served."""
    world = world_of(*NAMES)
    _, caller = world.ask(messages=[{"role": "user", "content": "kill"}])
    for number in range(2):
        at_work(world).give_up("engine_crash", retry_elsewhere=True, engine=f"m#{number}")
        world.carry()
    assert caller.error["code"] == "engine_crash"
    _, again = world.ask(messages=[{"role": "user", "content": "kill"}])
    assert (again.status, again.error["code"]) == (502, "engine_crash")
    assert "x-should-retry: false" in again.text
    world.ask(messages=[{"role": "user", "content": "live"}])
    at_work(world).answer(ANSWER)
    world.now_s += 61
    world.ask(messages=[{"role": "user", "content": "kill"}])
    at_work(world).answer(ANSWER)
    assert [record.outcome for record in world.records[-2:]] == [Outcome.OK, Outcome.OK]


def test_a_refusal_for_crashes_on_one_neuron_is_no_crash() -> None:
    world = world_of("n1", "n2")
    for _ in range(5):
        world.ask()
        at_work(world).give_up("engine_crash", message="it is not tried again")
    assert len(world.pipeline.failover.quarantine) == 0


# ── in the middle of a stream ─────────────────────────────────────────────────────────────────


def test_a_stream_goes_on_elsewhere_as_if_nothing_had_been() -> None:
    world = world_of("n1", "n2")
    caller, job = begun(world, "Hel", "lo", max_tokens=10)
    job.neuron.die()
    world.carry()
    second = at_work(world)
    assert second is not job
    continued = second.head.continues
    assert continued is not None
    assert (continued.id, continued.created) == ("chatcmpl-7UfB", 1795401461)
    assert continued.completion_tokens == 2
    told = json.loads(bytes(second.body))
    assert told["messages"][-1] == {"role": "assistant", "content": "Hello"}
    assert told["max_tokens"] == 8
    go_on(second, ", world", usage=Usage(prompt_tokens=12, completion_tokens=1))
    assert ls.said(caller.body) == "Hello, world"
    assert caller.body.endswith(DONE)
    assert (caller.complete, caller.cut_off) == (True, False)
    record = world.records[0]
    assert (record.outcome, record.resumes, record.attempts) == (Outcome.OK, 1, 2)
    assert record.trailer is not None
    assert record.trailer.usage == Usage(prompt_tokens=10, completion_tokens=3)
    assert world.pipeline.inflight.total == 0


def test_half_an_event_is_not_told_and_what_it_said_comes_whole() -> None:
    world = world_of("n1", "n2")
    caller, job = begun(world, "Hel")
    torn = ls.delta(content="lo é")
    job.say(torn[:-9])
    assert ls.said(caller.body) == "Hel"
    job.neuron.die()
    world.carry()
    go_on(at_work(world), "lo é")
    assert ls.said(caller.body) == "Hello é"


def test_an_event_in_two_pieces_is_told_in_one() -> None:
    world = world_of("n1")
    caller, job = begun(world, "Hel")
    torn = ls.delta(content="lo")
    job.say(torn[:20])
    job.say(torn[20:] + DONE)
    job.end()
    assert ls.said(caller.body) == "Hello"
    assert caller.body.endswith(torn + DONE)


def test_a_stream_that_had_nothing_but_its_head_begins_anew() -> None:
    world = world_of("n1", "n2")
    caller, job = begun(world)
    job.neuron.die()
    world.carry()
    second = at_work(world)
    assert (second.head.continues, bytes(second.body)) == (None, bytes(job.body))
    go_on(second, "Hello")
    assert ls.said(caller.body) == "Hello"


@pytest.mark.parametrize("done", [True, False])
def test_a_stream_that_lost_only_its_end_is_ended(done: bool) -> None:
    """Nothing is computed again for an end mark."""
    world = world_of("n1", "n2")
    caller, job = begun(world, "Hello")
    job.say(b": tokens 20 1 4\n\n" + ls.finish() + (DONE if done else b""))
    job.neuron.die()
    world.carry()
    assert caller.complete
    assert caller.body.endswith(ls.finish() + DONE)
    assert at_work(world) is job
    assert world.records[0].outcome is Outcome.OK
    assert world.records[0].trailer == Trailer(
        usage=Usage(prompt_tokens=20, completion_tokens=1, cached_tokens=4),
        finish_reason="length",
    )
    assert world.pipeline.inflight.total == 0


def test_a_stream_at_its_bound_of_tokens_is_ended() -> None:
    world = world_of("n1", "n2")
    caller, job = begun(world, "Hel", "lo", max_tokens=2)
    job.neuron.die()
    world.carry()
    assert caller.complete
    assert chunks(caller)[-2]["choices"][0]["finish_reason"] == "length"


def test_a_stream_that_is_ended_here_is_booked_and_has_its_usage_frame() -> None:
    """The engine counted three tokens in two pieces; nobody else will tell the caller."""
    world = world_of("n1", "n2")
    caller, job = begun(world, "Hel", "lo", max_tokens=3, stream_options={"include_usage": True})
    job.say(b": tokens 20 3 4\n\n")
    job.neuron.die()
    world.carry()
    assert caller.complete
    finish, usage = chunks(caller)[-3:-1]
    assert finish["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 23
    trailer = world.records[0].trailer
    assert trailer is not None
    assert trailer.usage == Usage(prompt_tokens=20, completion_tokens=3, cached_tokens=4)
    assert trailer.finish_reason == "length"


def test_a_stream_may_lose_one_neuron_after_the_other() -> None:
    world = world_of("n1", "n2", "n3")
    caller, _ = begun(world, "a", max_tokens=9)
    for piece in ("b", "c"):
        at_work(world).neuron.die()
        world.carry()
        at_work(world).begin()
        at_work(world).say(ls.delta(content=piece))
    assert at_work(world).head.continues is not None
    assert json.loads(bytes(at_work(world).body))["messages"][-1]["content"] == "ab"
    at_work(world).say(ls.finish() + DONE)
    at_work(world).end(Usage(prompt_tokens=9, completion_tokens=1))
    assert ls.said(caller.body) == "abc"
    assert world.records[0].resumes == 2


def test_a_stream_that_does_not_get_further_is_told() -> None:
    """A word that kills engines in the middle of its answer does not take one after the other."""
    world = world_of(*NAMES)
    caller, job = begun(world, "a")
    job.give_up("engine_garbage", message="nonsense")
    world.carry()
    second = at_work(world)
    second.begin()
    second.give_up("engine_garbage", message="more nonsense")
    world.carry()
    assert sum(len(neuron.jobs) for neuron in world.neurons.values()) == 2
    assert (caller.error["code"], caller.cut_off) == ("engine_garbage", True)
    assert DONE not in caller.body
    assert caller.error["message"] == "nonsense"


def test_a_crash_in_the_middle_counts_and_the_second_one_is_told() -> None:
    """F37: two engines and no more."""
    world = world_of(*NAMES)
    caller, job = begun(world, "a")
    job.give_up("engine_crash", engine="m#1")
    world.carry()
    second = at_work(world)
    second.begin()
    second.say(ls.delta(content="b"))
    second.give_up("engine_crash", engine="m#1")
    world.carry()
    assert caller.error["code"] == "engine_crash"
    assert sum(len(neuron.jobs) for neuron in world.neurons.values()) == 2


def test_what_the_next_engine_says_against_the_continuation_is_not_the_callers() -> None:
    """A continuation that does not fit there: the caller's own request was right."""
    world = world_of("n1", "n2")
    caller, job = begun(world, "a")
    job.neuron.die()
    world.carry()
    at_work(world).answer(b'{"error":{"code":"context_length_exceeded"}}', 400)
    assert caller.error["code"] == "upstream_connection_error"
    assert caller.cut_off
    assert (world.records[0].outcome, world.records[0].status) == (Outcome.UPSTREAM_ERROR, 200)


def test_without_another_replica_the_caller_is_told_at_once() -> None:
    """F01: an error event and a cut; nobody waits for a neuron that may come back."""
    world = world_of("n1")
    caller, job = begun(world, "a")
    job.neuron.die()
    assert caller.error["code"] == "upstream_connection_error"
    assert (caller.cut_off, caller.complete) == (True, False)
    assert ls.said(caller.body.rpartition(b"data: ")[0]) == "a"


def test_a_stream_waits_two_seconds_for_a_seat_and_goes_before_all_others() -> None:
    world = world_of("n1", "n2", requests_in_flight_max=64, queue_requests_max=4)
    others = [begun(world, "x") for _ in range(12)]
    waiting = [world.ask(stream=True)[1] for _ in range(3)]
    assert world.pipeline.room.queued == 3
    victims = [(caller, job) for caller, job in others if job.neuron.id == "n1"]
    victims[0][1].give_up("engine_garbage", message="nonsense")
    victims[1][1].give_up("engine_garbage", message="nonsense")
    world.carry()
    busy = world.neurons["n2"].jobs
    go_on(busy[0], "y")
    world.carry()
    assert busy[-1].head.continues is not None
    world.later(2.0)
    assert victims[1][0].error["code"] == "engine_garbage"
    go_on(busy[-1], "z")
    assert ls.said(victims[0][0].body) == "xz"
    assert all(not caller.cut_off for caller in waiting)


def test_a_caller_that_leaves_a_resumed_stream_cancels_the_neuron_that_has_it() -> None:
    world = world_of("n1", "n2")
    exchange, _ = world.ask(stream=True)
    first = at_work(world)
    first.begin()
    first.say(ls.role() + ls.delta(content="a"))
    first.neuron.die()
    world.carry()
    exchange.leave()
    world.carry()
    assert at_work(world).cancelled is not None
    assert world.pipeline.inflight.total == 0


def test_a_slow_caller_owes_no_credit_to_the_neuron_that_went_on() -> None:
    world = world_of("n1", "n2")
    exchange, caller = world.ask(stream=True)
    first = at_work(world)
    first.begin()
    caller.write_paused = True
    first.say(ls.role() + ls.delta(content="a") * 100)
    first.neuron.die()
    world.carry()
    second = at_work(world)
    caller.write_paused = False
    assert exchange.on_resume is not None
    exchange.on_resume()
    go_on(second, "b")
    assert ls.said(caller.body) == "a" * 100 + "b"


@pytest.mark.parametrize(
    ("fields", "pieces"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, ["a"]),
        ({"response_format": {"type": "json_object"}}, ["{"]),
        ({"n": 2}, ["a"]),
        ({"logprobs": True}, ["a"]),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            ["a"],
        ),
    ],
)
def test_what_cannot_be_continued_is_told(fields: dict[str, Any], pieces: list[str]) -> None:
    world = world_of("n1", "n2")
    caller, job = begun(world, *pieces, **fields)
    job.neuron.die()
    world.carry()
    assert caller.error["code"] == "upstream_connection_error"
    assert caller.cut_off
    assert at_work(world) is job


def test_what_the_caller_did_wrong_is_not_continued() -> None:
    world = world_of("n1", "n2")
    caller, job = begun(world, "a")
    job.give_up("invalid_request_body", message="no")
    world.carry()
    assert caller.error["code"] == "invalid_request_body"
    assert at_work(world) is job


def test_engines_that_cannot_continue_are_not_asked_to() -> None:
    world = World("n1", "n2")
    caller, job = begun(world, "a")
    job.neuron.die()
    world.carry()
    assert caller.error["code"] == "upstream_connection_error"
    assert at_work(world) is job


def test_resuming_can_be_switched_off() -> None:
    world = world_of("n1", "n2", resume_bytes_max=0)
    caller, job = begun(world, "a")
    assert job.stream is not None
    job.neuron.die()
    world.carry()
    assert caller.error["code"] == "upstream_connection_error"


def test_memory_of_streams_is_given_back_at_their_end() -> None:
    world = world_of("n1", "n2")
    allowed = world.settings.resume_bytes_max
    kept = world.pipeline.failover.kept
    _, job = begun(world, "a")
    assert kept.left < allowed
    go_on_elsewhere = job.neuron
    go_on_elsewhere.die()
    world.carry()
    go_on(at_work(world), "b")
    assert kept.left == allowed
