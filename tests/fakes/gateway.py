"""A gateway without sockets: a caller that is a script, a neuron that is a script, and a clock."""

import itertools
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from helexa.cortex.gateway.auth import OpenDoor
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.head import Head
from helexa.cortex.gateway.metering import Record
from helexa.cortex.gateway.pipeline import Pipeline, Seams
from helexa.cortex.gateway.rate_limit import UNLIMITED
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, NeuronView, Replica
from helexa.protocol.dialects.dialect import DIALECT_OF, DIALECTS
from helexa.protocol.errors import ErrorCode
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import OpenHead, Reset, ResponseHead, Trailer, Usage
from helexa.protocol.model import ModelCapability
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth, NeuronLoad
from helexa.protocol.ports import Authenticator, RateLimiter
from helexa.protocol.tunnel import Stream, StreamHandler, Tunnel
from helexa.protocol.workload import Operation
from tests.fakes.fleet import CHAT, capabilities, model

CHUNK = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@dataclass
class FakeTransport:
    written: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass
class Caller:
    """The other end of an exchange: what it was sent, and how its connection ended."""

    transport: FakeTransport = field(default_factory=FakeTransport)
    write_paused: bool = False
    peer: str = "127.0.0.1:5"
    secure: bool = False
    complete: bool = False
    cut_off: bool = False

    def answer_prefix(self) -> bytes:
        return b""

    def answered(self) -> None:
        self.complete = True

    def cut(self, *, flush: bool) -> None:
        self.cut_off = True

    @property
    def text(self) -> str:
        return self.transport.written.decode()

    @property
    def status(self) -> int:
        return int(self.text.split(" ", 2)[1])

    @property
    def body(self) -> bytes:
        """The body, chunks joined."""
        head, _, rest = bytes(self.transport.written).partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head.lower():
            return rest
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            count = int(size, 16)
            body, rest = body + rest[:count], rest[count + 2 :]
        return body

    @property
    def error(self) -> dict[str, Any]:
        """The error of the answer, or of the event that broke it off."""
        text = self.body.decode()
        if "data: " in text:
            text = text.rsplit("data: ", 1)[1]
        error: dict[str, Any] = json.loads(text)["error"]
        return error


def exchange_of(
    caller: Caller, method: str, path: str, headers: dict[bytes, bytes] | None = None
) -> Exchange:
    return Exchange(caller, Head(method, path, fields=headers or {}), "req-1")


@dataclass
class Settings:
    first_byte_timeout_s: float = 300
    idle_timeout_s: float = 300
    keepalive_interval_s: float = 1
    commit_after_s: float = 2
    hold_for_load_s: float = 60
    requests_held_max: int = 4
    requests_in_flight_max: int = 8
    queue_requests_max: int = 4
    queue_wait_s: float = 30
    queue_starvation_s: float = 10
    key_requests_max: int | None = None
    bulk_prompt_tokens: int = 1000
    bulk_answer_tokens: int = 500
    retry_percent: int = 10
    resume_bytes_max: int = 1 << 20


@dataclass
class Job:
    """A request as it reached the fake neuron, and the ways to answer it."""

    neuron: "FakeNeuron"
    stream: Stream
    head: OpenHead
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    cancelled: Reset | None = None
    number: int = field(default_factory=itertools.count().__next__)
    """In order of arrival, over all neurons."""

    def on_head(self, payload: bytes) -> None:
        raise AssertionError("cortex sends no heads")

    def on_data(self, data: bytes) -> None:
        self.body += data
        self.stream.consumed(len(data))

    def on_end(self, payload: bytes) -> None:
        self.complete = True

    def on_reset(self, payload: bytes) -> None:
        self.cancelled = msgspec.json.decode(payload, type=Reset)

    def on_writable(self) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, usage: Usage | None = None) -> None:
        """Answer with one frame, as neurons do where the answer is small."""
        head = ResponseHead(status=status)
        trailer = Trailer(usage=usage, finish_reason="stop")
        encode = msgspec.json.encode
        self.stream.send_answer(encode(head), body, encode(trailer))
        self.neuron.carry()

    def begin(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        head = ResponseHead(status=status, content_type=content_type)
        self.stream.send_head(msgspec.json.encode(head))
        self.neuron.carry()

    def say(self, data: bytes) -> None:
        self.stream.send_data(data)
        self.neuron.carry()

    def end(self, usage: Usage | None = None) -> None:
        self.stream.send_end(msgspec.json.encode(Trailer(usage=usage, finish_reason="stop")))
        self.neuron.carry()

    def give_up(self, code: str, **fields: Any) -> None:
        self.stream.reset(msgspec.json.encode(Reset(code=code, **fields)))
        self.neuron.carry()


class FakeNeuron:
    """Both ends of one tunnel, joined by hand."""

    def __init__(self, name: str) -> None:
        self.id = NeuronId(name)
        self.jobs: list[Job] = []
        self.cortex_end = Tunnel(accept=None, wake=lambda: None, fault=self._fault)
        self._neuron_end = Tunnel(accept=self._accept, wake=lambda: None, fault=self._fault)
        self._neuron_end.answers = True

    def _accept(self, stream: Stream, head: bytes) -> Job:
        job = Job(self, stream, msgspec.json.decode(head, type=OpenHead))
        self.jobs.append(job)
        return job

    @staticmethod
    def _fault(error: Exception) -> None:
        raise AssertionError("a handler failed") from error

    def carry(self) -> None:
        while (down := self.cortex_end.take()) or (up := self._neuron_end.take()):
            if down:
                self._neuron_end.receive(down)
            else:
                self.cortex_end.receive(up)

    def die(self) -> None:
        """Be gone, as a session tells it of a lost connection."""
        lost = Reset(code="upstream_connection_error", message="lost", retry_elsewhere=True)
        self.cortex_end.close(msgspec.json.encode(lost))


class World:
    """A pipeline, its neurons and its callers."""

    def __init__(
        self,
        *names: str,
        authenticator: Authenticator | None = None,
        settings: Settings | None = None,
        capability: ModelCapability = CHAT,
        limiter: RateLimiter = UNLIMITED,
        router: Router | None = None,
    ) -> None:
        self.now_s = 1000.0
        self.settings = settings or Settings()
        self.neurons = {NeuronId(name): FakeNeuron(name) for name in names}
        self.reports: list[object] = []
        self.records: list[Record] = []
        self.snapshot = snapshot_of(*names, capability=capability)
        self.retries: list[tuple[NeuronId, ErrorCode]] = []
        seams = Seams(
            snapshot=lambda: self.snapshot,
            report=self.reports.append,
            open_stream=self._open,
            now=lambda: self.now_s,
            record=self.records.append,
            limiter=limiter,
            router=router or Router(),
            retried=lambda replica, code: self.retries.append((replica.neuron_id, code)),
        )
        self.pipeline = Pipeline(seams, authenticator or OpenDoor(), self.settings)

    def _open(
        self, neuron_id: NeuronId, epoch: int, head: bytes, body: bytes, handler: StreamHandler
    ) -> Stream | None:
        neuron = self.neurons[neuron_id]
        if neuron.cortex_end.closed:
            return None
        return neuron.cortex_end.open(head, body, handler)

    def ask(
        self,
        operation: Operation = Operation.CHAT,
        headers: dict[bytes, bytes] | None = None,
        **fields: Any,
    ) -> tuple[Exchange, Caller]:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        return self.send(json.dumps(body).encode(), operation, headers)

    def send(
        self,
        body: bytes,
        operation: Operation = Operation.CHAT,
        headers: dict[bytes, bytes] | None = None,
    ) -> tuple[Exchange, Caller]:
        caller = Caller()
        exchange = exchange_of(caller, "POST", "/v1/chat/completions", headers)
        exchange.body = body
        self.pipeline.handle(exchange, operation, DIALECT_OF[operation])
        self.carry()
        return exchange, caller

    def carry(self) -> None:
        for neuron in self.neurons.values():
            if not neuron.cortex_end.closed:
                neuron.carry()

    def job(self, neuron: str = "n1", index: int = -1) -> Job:
        return self.neurons[NeuronId(neuron)].jobs[index]

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.pipeline.sweep()
        self.carry()

    def publish(self, snapshot: FleetSnapshot) -> None:
        self.snapshot = snapshot
        self.pipeline.room.wake()
        self.carry()


def snapshot_of(
    *neurons: str, loading: bool = False, known: bool = True, capability: ModelCapability = CHAT
) -> FleetSnapshot:
    """A fleet with model `m` (alias `alias`) on each of the neurons."""
    config = model("m", aliases=("alias",))
    replicas = tuple(
        Replica(
            model_id=config.id,
            neuron_id=NeuronId(name),
            epoch=1,
            capability=capability,
            dialects=tuple(DIALECTS),
        )
        for name in neurons
    )
    view = ModelView(
        config=config, replicas=replicas, loading=loading, capability=capability,
        because="" if replicas else "no neuron is connected",
    )  # fmt: skip
    names = {"m": ModelId("m"), "alias": ModelId("m")} if known else {}
    return FleetSnapshot(
        version=1,
        taken_s=1000.0,
        models=MappingProxyType({ModelId("m"): view}),
        names=MappingProxyType(names),
        neurons=MappingProxyType({NeuronId(name): _neuron_view(name) for name in neurons}),
    )


def _neuron_view(name: str) -> NeuronView:
    return NeuronView(
        descriptor=NeuronDescriptor(id=NeuronId(name), epoch=1),
        capabilities=capabilities(),
        health=NeuronHealth(),
        load=NeuronLoad(),
        connected=True,
        suspect=False,
        last_heard_s=1000.0,
    )
