"""Whatever callers and neurons do: every request ends once, and no stream says a wrong word."""

import json
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.protocol.errors import Refusal
from helexa.protocol.ports import ANONYMOUS, Principal
from tests.fakes import llama_stream as ls
from tests.fakes.fleet import CHAT
from tests.fakes.gateway import DONE, Caller, FakeNeuron, Job, Settings, World

NAMES = ("n1", "n2")
SEATS = 1
TEXT = "".join(f"<{number}>" for number in range(200))
CODES = (
    "upstream_connection_error", "engine_crash", "engine_garbage", "rate_limit_exceeded",
    "invalid_request_body", "upstream_timeout",
)  # fmt: skip


class ByHeader:
    """Whoever says who he is, is it; others are anonymous."""

    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        return Principal(key_id=credential.decode()) if credential else ANONYMOUS


def said(caller: Caller) -> str:
    """Return the text of all whole events; what is no event raises."""
    text = ""
    for event in caller.body.split(b"\n\n")[:-1]:
        if event.startswith(b"data: {"):
            for choice in json.loads(event[6:]).get("choices", ()):
                text += choice["delta"].get("content") or ""
    return text


class Traffic(RuleBasedStateMachine):
    """Two neurons with one seat each, and callers that come faster than they are served."""

    def __init__(self) -> None:
        super().__init__()
        capability = msgspec.structs.replace(CHAT, seats=SEATS, resume=True)
        limits = Settings(requests_in_flight_max=40, queue_requests_max=6, queue_wait_s=20)
        self.world = World(*NAMES, authenticator=ByHeader(), settings=limits, capability=capability)
        self.calls: list[tuple[Exchange, Caller, bool]] = []
        self.begun: set[int] = set()
        self.heard: dict[int, int] = {}
        """Of each job that began, the number of its next word."""
        self.over: set[int] = set()

    # ── who is there ──────────────────────────────────────────────────────────────────────────

    def jobs(self) -> list[Job]:
        jobs = [job for neuron in self.world.neurons.values() for job in neuron.jobs]
        return [job for job in jobs if job.number not in self.over and job.cancelled is None]

    def waiting_callers(self) -> list[tuple[Exchange, Caller, bool]]:
        return [call for call in self.calls if not (call[1].complete or call[1].cut_off)]

    def pick(self, data: st.DataObject) -> Job:
        return data.draw(st.sampled_from(self.jobs()))

    def begin(self, job: Job) -> None:
        """Say the head of a stream, as a neuron does that knows what it continues."""
        if job.number in self.begun:
            return
        self.begun.add(job.number)
        job.begin()
        if job.head.continues is None:
            job.say(ls.role())
        last = json.loads(bytes(job.body))["messages"][-1]
        told = last["content"] if last["role"] == "assistant" else ""
        assert TEXT.startswith(told)
        self.heard[job.number] = told.count("<")

    # ── what happens ──────────────────────────────────────────────────────────────────────────

    @rule(
        stream=st.booleans(),
        key=st.sampled_from([b"", b"a", b"b"]),
        much=st.booleans(),
        count=st.integers(1, 4),
    )
    def ask(self, stream: bool, key: bytes, much: bool, count: int) -> None:
        headers = {b"x-api-key": key} if key else {}
        fields: dict[str, Any] = {"max_tokens": 600} if much else {}
        for _ in range(count):
            exchange, caller = self.world.ask(headers=headers, stream=stream, **fields)
            self.calls.append((exchange, caller, stream))

    @precondition(lambda self: self.jobs())
    @rule(data=st.data(), tear=st.integers(0, 60))
    def speak(self, data: st.DataObject, tear: int) -> None:
        job = self.pick(data)
        if not job.head.stream:
            return
        self.begin(job)
        number = self.heard[job.number]
        self.heard[job.number] += 1
        event = ls.delta(content=f"<{number}>")
        job.say(event[:tear])
        job.say(event[tear:])

    @precondition(lambda self: self.jobs())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.end(self.pick(data))

    def end(self, job: Job) -> None:
        self.over.add(job.number)
        if job.head.stream:
            self.begin(job)
            job.say(ls.finish() + DONE)
            job.end()
        else:
            job.answer(b'{"choices":[{"message":{"content":"hi"}}]}')
        self.world.carry()

    @precondition(lambda self: self.jobs())
    @rule(data=st.data(), code=st.sampled_from(CODES), torn=st.booleans())
    def give_up(self, data: st.DataObject, code: str, torn: bool) -> None:
        job = self.pick(data)
        if torn and job.head.stream:
            self.begin(job)
            job.say(ls.delta(content=f"<{self.heard[job.number]}>")[:50])
        self.over.add(job.number)
        untouched = job.number not in self.begun
        engine = f"m#{job.number}" if code == "engine_crash" else ""
        job.give_up(code, retry_elsewhere=untouched, engine=engine)
        self.world.carry()

    @rule(name=st.sampled_from(NAMES))
    def die(self, name: str) -> None:
        """A neuron goes with all that it has, and comes again with nothing."""
        gone = self.world.neurons[name]  # type: ignore[index]
        self.over |= {job.number for job in gone.jobs}
        gone.die()
        self.world.carry()
        self.world.neurons[name] = FakeNeuron(name)  # type: ignore[index]
        self.world.publish(self.world.snapshot)

    @precondition(lambda self: self.waiting_callers())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        exchange, caller, _ = data.draw(st.sampled_from(self.waiting_callers()))
        exchange.leave()
        caller.cut_off = True
        self.world.carry()

    @rule(seconds=st.sampled_from([0.3, 1.1, 2.5, 12.0]))
    def later(self, seconds: float) -> None:
        self.world.later(seconds)

    # ── what always holds ─────────────────────────────────────────────────────────────────────

    @invariant()
    def every_request_is_in_one_place(self) -> None:
        pipeline = self.world.pipeline
        assert len(pipeline) == len(self.waiting_callers())
        assert len(self.world.records) + len(pipeline) == len(self.calls)
        assert pipeline.inflight.total + pipeline.room.queued == len(pipeline)
        assert pipeline.inflight.total == len(self.jobs())

    @invariant()
    def seats_and_line_are_bounded(self) -> None:
        for neuron in self.world.neurons.values():
            on_it = sum(job.neuron is neuron for job in self.jobs())
            assert on_it <= SEATS + 2
        assert self.world.pipeline.room.queued <= 6 + len(NAMES) * (SEATS + 2)

    @invariant()
    def streams_say_the_right_words_and_none_looks_whole_that_is_not(self) -> None:
        for _, caller, stream in self.calls:
            if stream and caller.transport.written and caller.status == 200:
                assert TEXT.startswith(said(caller))
                assert caller.body.count(b'"role"') <= 1
                assert caller.body.endswith(DONE) == caller.complete

    def teardown(self) -> None:
        for _ in range(200):
            for job in self.jobs():
                self.end(job)
            self.world.later(0.3)
            if not len(self.world.pipeline):
                break
        self.every_request_is_in_one_place()
        assert not self.waiting_callers()
        pipeline = self.world.pipeline
        assert pipeline.failover.kept.left == self.world.settings.resume_bytes_max
        assert (pipeline.room.queued, pipeline.room.held) == (0, 0)


Traffic.TestCase.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
TestTraffic = Traffic.TestCase
