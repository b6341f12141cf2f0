"""The way of a request, as scripts: a caller, a neuron, and what each is told."""

import json
from dataclasses import replace
from types import MappingProxyType

import msgspec
import pytest

from helexa.cortex.gateway.auth import StaticKeys
from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.orchestrator.circuit import TROUBLE_S
from helexa.cortex.orchestrator.events import ModelWanted, RequestOutcome
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import Usage
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT
from tests.fakes.gateway import CHUNK, DONE, World, snapshot_of

ANSWER = b'{"choices":[{"message":{"content":"hi"}}]}'


def test_a_request_reaches_the_neuron_as_it_came_and_its_answer_comes_back() -> None:
    """R1.3, R1.29, R1.31, R1.33: one neuron, a static model, and bytes that nobody rewrites."""
    world = World("n1")
    _, caller = world.ask(temperature=0.5, unknown_field={"kept": True})
    job = world.job()
    assert (job.head.model, job.head.operation, job.head.stream) == ("m", Operation.CHAT, False)
    assert json.loads(bytes(job.body))["unknown_field"] == {"kept": True}
    job.answer(ANSWER)
    assert (caller.status, caller.body, caller.complete) == (200, ANSWER, True)
    assert "x-request-id: req-1" in caller.text
    assert [record.outcome for record in world.records] == [Outcome.OK]
    assert (len(world.pipeline), world.pipeline.inflight.total) == (0, 0)


def test_an_embeddings_request_reaches_the_neuron_as_embeddings() -> None:
    """R1.30, R1.32."""
    world = World("n1")
    world.send(b'{"model":"m","input":"cat"}', Operation.EMBEDDINGS)
    # The fake model chats only: routing refuses it by its capability, before any neuron.
    assert world.records[0].status == 400


def test_an_alias_is_resolved_for_the_neuron() -> None:
    world = World("n1")
    world.ask(model="alias")
    assert world.job().head.model == "m"


def test_the_end_of_a_stream_is_seen_only_after_it_was_booked() -> None:
    world = World("n1")
    _, caller = world.ask(stream=True)
    job = world.job()
    job.begin()
    job.say(CHUNK + DONE)
    assert caller.body == CHUNK
    assert world.records == []
    job.end(Usage(prompt_tokens=3, completion_tokens=1))
    assert caller.body == CHUNK + DONE
    assert caller.complete
    trailer = world.records[0].trailer
    assert trailer is not None
    assert trailer.usage == Usage(prompt_tokens=3, completion_tokens=1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b'{"model":"m"}', 400, "invalid_request_body"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":99}', 400, "invalid_request_body"),
        (b'{"messages":[{"role":"user","content":"x"}]}', 400, "missing_model_field"),
        (b'{"model":"nope","messages":[{"role":"user","content":"x"}]}', 404, "model_not_found"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_before_any_neuron(
    body: bytes, status: int, code: str
) -> None:
    """R3.5: each has its own status and code."""
    world = World("n1")
    _, caller = world.send(body)
    assert (caller.status, caller.error["code"]) == (status, code)
    assert not any(neuron.jobs for neuron in world.neurons.values())
    assert [record.code for record in world.records] == [code]
    assert world.records[0].because == caller.error["message"]


def test_a_prompt_clearly_over_every_window_is_refused_before_any_neuron() -> None:
    """Lesson 49: 400 context_length_exceeded, without bothering an engine."""
    world = World("n1")
    _, caller = world.ask(messages=[{"role": "user", "content": "x" * 16 * 4097}])
    assert (caller.status, caller.error["code"]) == (400, "context_length_exceeded")
    assert not world.neurons["n1"].jobs
    _, _ = world.ask(messages=[{"role": "user", "content": "x" * 16 * 4096}])
    assert len(world.neurons["n1"].jobs) == 1


def test_tools_for_a_model_without_are_refused_before_any_neuron() -> None:
    """Lesson 8: a clear error, never a prompt that lost its tools."""
    world = World("n1")
    world.snapshot = snapshot_of("n1", capability=msgspec.structs.replace(CHAT, tools=False))
    _, caller = world.ask(tools=[{"type": "function", "function": {"name": "f"}}])
    assert (caller.status, caller.error["param"]) == (400, "tools")
    assert not world.neurons["n1"].jobs
    world.ask()
    assert len(world.neurons["n1"].jobs) == 1


def test_without_a_neuron_the_caller_is_told_to_come_back() -> None:
    """R1.45: 503 with Retry-After, and the gateway stays up."""
    world = World()
    _, caller = world.ask()
    assert (caller.status, caller.error["code"]) == (503, "service_unavailable")
    assert "retry-after: " in caller.text
    world.neurons |= World("n1").neurons
    world.snapshot = snapshot_of("n1")
    world.ask()
    assert len(world.job().body) > 0


def test_a_stream_that_waits_for_its_model_says_how_far_the_load_is() -> None:
    """The wait costs no more than the load: the new snapshot alone sends the request."""
    world = World("n1")
    loading = snapshot_of(loading=True)
    view = replace(loading.models["m"], progress=0.5, ready_at_s=world.pipeline.now() + 10.0)
    world.snapshot = replace(loading, models={"m": view})
    _, caller = world.ask(stream=True)
    world.later(world.settings.commit_after_s + 0.1)
    assert b": m is loading: 50 %, about 8 s left" in caller.body
    assert world.pipeline.waiting() == {"m": 1}
    world.publish(snapshot_of("n1"))
    assert world.pipeline.waiting() == {}
    assert world.pipeline.inflight.by_model() == {"m": 1}


def test_a_request_for_a_loading_model_waits_and_is_served_when_it_is_there() -> None:
    world = World("n1")
    world.snapshot = snapshot_of(loading=True)
    _, caller = world.ask(stream=True)
    assert world.reports == [ModelWanted("m", cause="req-1")]
    assert (world.pipeline.room.held, caller.text) == (1, "")
    world.later(2.5)
    assert (caller.status, caller.body) == (
        200,
        b": m is loading: no neuron is connected\n\n",
    )
    world.publish(snapshot_of("n1"))
    assert world.pipeline.room.held == 0
    world.job().begin()
    world.job().say(CHUNK + DONE)
    world.job().end()
    assert caller.body.endswith(CHUNK + DONE)


def test_a_request_that_names_no_model_asks_for_the_default_one() -> None:
    """R1.22: else nothing would load it, and the request would wait in vain."""
    world = World("n1")
    defaults = MappingProxyType({WorkloadClass.CHAT_INTERACTIVE: ModelId("m")})
    world.snapshot = replace(snapshot_of(loading=True), default_models=defaults)
    _, caller = world.send(b'{"messages":[{"role":"user","content":"x"}]}')
    assert world.reports == [ModelWanted(ModelId("m"), cause="req-1")]
    world.publish(replace(snapshot_of("n1"), default_models=defaults))
    world.job().answer(ANSWER)
    assert (caller.status, caller.body) == (200, ANSWER)


def test_a_wait_for_a_model_is_bounded_in_time_and_in_number() -> None:
    world = World("n1")
    world.snapshot = snapshot_of(loading=True)
    callers = [world.ask()[1] for _ in range(world.settings.requests_held_max + 1)]
    assert callers[-1].error["code"] == "rate_limit_exceeded"
    world.later(world.settings.hold_for_load_s)
    assert {caller.error["code"] for caller in callers[:-1]} == {"model_loading"}
    assert all("retry-after: " in caller.text for caller in callers)
    assert (world.pipeline.room.held, len(world.pipeline)) == (0, 0)


def test_a_caller_that_leaves_while_it_waits_gives_its_place_back() -> None:
    """R3.9: a waiter that is gone is never sent to a neuron."""
    world = World("n1")
    world.snapshot = snapshot_of(loading=True)
    exchange, _ = world.ask()
    exchange.leave()
    assert (world.pipeline.room.held, len(world.pipeline)) == (0, 0)
    world.publish(snapshot_of("n1"))
    assert world.neurons["n1"].jobs == []
    assert world.records[0].outcome is Outcome.CANCELLED


def test_too_many_requests_at_once_are_429() -> None:
    world = World("n1")
    for _ in range(world.settings.requests_in_flight_max):
        world.ask()
    _, caller = world.ask()
    assert (caller.status, caller.error["code"]) == (429, "rate_limit_exceeded")


def test_what_nothing_was_done_for_is_tried_on_another_neuron_once() -> None:
    """R1.27: a neuron that is gone is an error, not a silent queue."""
    world = World("n1", "n2")
    _, caller = world.ask()
    first = next(name for name, neuron in world.neurons.items() if neuron.jobs)
    other = "n2" if first == "n1" else "n1"
    world.job(first).give_up("upstream_connection_error", retry_elsewhere=True)
    world.carry()
    world.job(other).answer(ANSWER)
    assert (caller.status, caller.body) == (200, ANSWER)
    assert world.records[0].attempts == 2
    assert world.retries == [(first, "upstream_connection_error")]
    assert world.pipeline.inflight.total == 0
    assert [type(report) for report in world.reports] == [RequestOutcome]


def test_a_second_failure_is_told() -> None:
    world = World("n1", "n2")
    _, caller = world.ask()
    for neuron in sorted(world.neurons.values(), key=lambda n: not n.jobs):
        neuron.jobs[0].give_up("engine_crash", message="it died", retry_elsewhere=True)
        world.carry()
    assert (caller.status, caller.error["code"]) == (502, "engine_crash")
    assert len(world.retries) == 1
    assert world.pipeline.inflight.total == 0


def test_a_refusal_where_there_is_no_other_neuron_keeps_its_own_reason() -> None:
    world = World("n1")
    _, caller = world.ask()
    world.job().give_up(
        "rate_limit_exceeded", message="8 wait already", retry_elsewhere=True, retry_after_s=7
    )
    assert (caller.status, caller.error["message"]) == (429, "8 wait already")
    assert "retry-after: 7" in caller.text


def test_a_connection_that_is_gone_when_it_is_needed_is_passed_over() -> None:
    world = World("n1", "n2")
    world.neurons["n1"].die()
    for _ in range(4):
        world.ask()
    assert len(world.neurons["n2"].jobs) == 4
    assert set(world.retries) <= {("n1", "upstream_connection_error")}
    world.neurons["n2"].die()
    _, caller = world.ask()
    assert (caller.status, caller.error["code"]) == (502, "upstream_connection_error")
    assert world.pipeline.inflight.total == 0


def outcomes_of(world: World) -> list[bool]:
    return [report.ok for report in world.reports if isinstance(report, RequestOutcome)]


def test_successes_are_told_of_a_replica_that_failed_until_they_no_longer_matter() -> None:
    world = World("n1")
    for wait_s in (0.0, 1.0, TROUBLE_S, 0.0):
        world.now_s += wait_s
        world.ask()
        if not world.reports:
            world.job().give_up("engine_garbage")
        else:
            world.job().answer(ANSWER)
    assert outcomes_of(world) == [False, True, True]


def test_the_success_of_a_probe_is_told() -> None:
    world = World("n1")
    world.ask()
    world.job().answer(ANSWER)
    assert outcomes_of(world) == []
    (view,) = world.snapshot.models.values()
    probed = replace(view, replicas=tuple(replace(r, probing=True) for r in view.replicas))
    world.snapshot = replace(world.snapshot, models={"m": probed}, memo={})
    world.ask()
    world.job().answer(ANSWER)
    assert outcomes_of(world) == [True]


def test_a_crash_before_the_first_byte_is_left_to_the_neuron_s_own_report() -> None:
    """A blocked query of death looks the same; asked again and again it must harm nobody."""
    world = World("n1")
    for _ in range(5):
        world.ask()
        world.job().give_up("engine_crash", message="it is not tried again")
    assert not [report for report in world.reports if isinstance(report, RequestOutcome)]


def test_keys_are_checked_and_the_principal_is_stamped_for_the_neuron() -> None:
    class Key:
        key_id, name = "k1", "alice"
        digest = __import__("hashlib").sha256(b"s3cret").digest()

    world = World("n1", authenticator=StaticKeys([Key()]))
    _, refused = world.ask(headers={b"authorization": b"Bearer wrong"})
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    world.ask(headers={b"authorization": b"Bearer s3cret"})
    assert world.job().head.principal == "k1"


def test_a_draining_gateway_takes_nothing_new_and_ends_the_rest_with_an_error() -> None:
    world = World("n1")
    _, running = world.ask(stream=True)
    world.job().begin()
    world.job().say(CHUNK)
    world.pipeline.drain()
    _, refused = world.ask()
    assert (refused.status, refused.error["code"]) == (503, "shutting_down")
    assert "retry-after: 15" in refused.text
    world.pipeline.abandon_all("stopping")
    world.carry()
    assert running.error["code"] == "shutting_down"
    assert (running.cut_off, running.complete) == (True, False)
    assert world.job().cancelled is not None


def test_what_is_streamed_and_what_came_last_is_known_until_it_is_over() -> None:
    world = World("n1")
    assert (world.pipeline.streams, world.pipeline.newest) == (0, None)
    first, _ = world.ask(stream=True)
    second, _ = world.ask()
    assert world.pipeline.streams == 1
    newest = world.pipeline.newest
    assert newest is not None
    assert newest.exchange is second
    world.job().answer(ANSWER)
    newest = world.pipeline.newest
    assert newest is not None
    assert newest.exchange is first
    world.job(index=0).give_up("internal_error")
    assert (world.pipeline.streams, world.pipeline.newest) == (0, None)


def test_a_record_tells_how_many_requests_its_replica_had_with_it() -> None:
    """R6.10: so that it is learned how many at a time are of use."""
    world = World("n1")
    world.ask()
    world.ask()
    for job in (0, 1):
        world.job(index=job).answer(b"{}")
        world.carry()
    assert [(r.beside_first, r.beside_last) for r in world.records] == [(1, 2), (2, 1)]
