"""One connection to cortex: what is said, what is heard, and what ends it."""

import asyncio

import pytest

from helexa.neuron.control_plane.link import End
from helexa.neuron.control_plane.pulse import LinkTimes
from helexa.protocol.control import (
    CapabilitiesReport,
    HealthReport,
    Heartbeat,
    ModelReport,
    ProtocolFault,
    Register,
    RequestCapabilities,
)
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from helexa.protocol.tunnel_frames import HEADER_BYTES, unpack_header
from tests.fakes.control_neuron import command, neuron_of
from tests.fakes.cortex_server import CortexServer
from tests.fakes.exchange_log import until
from tests.fakes.tunnel_pair import StreamLog


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


async def test_no_heartbeat_is_sent_before_the_welcome():
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint):
        session = await cortex.session()
        await until(lambda: session.lost, "the neuron to give up waiting")
        assert [type(message) for message in session.messages] == [Register]


async def test_pongs_alone_keep_the_connection():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.session()
        await until(lambda: session.pings >= 20, "more pings than silence would allow")
        assert not session.lost
        assert neuron.client.state.rtt_ms > 0


async def test_pings_of_cortex_are_answered_and_heard():
    async with CortexServer(answers_pings=False) as cortex, neuron_of(cortex.endpoint):
        session = await cortex.session()
        for _ in range(60):
            session.transport.send_ping(b"x")
            await asyncio.sleep(0.01)
        assert not session.lost


@pytest.mark.parametrize(
    "first",
    [
        command("c1"),
        RequestCapabilities(),
        b'{"kind":"dance"}',
        b"not json",
        b"\xff\xfe",
    ],
)
async def test_a_first_frame_that_is_no_welcome_ends_the_connection(first):
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.session()
        session.say(first)
        await until(lambda: session.lost, "the connection to end")
        assert session.close_code == 1002
        assert neuron.face.began == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b'{"kind":"dance"}', "unknown_kind"),
        (b"not json", "malformed_frame"),
        (b'{"kind":"provisioning"}', "malformed_message"),
        (b"\xff\xfe", "malformed_frame"),
        (b"[" * 5000, "malformed_frame"),
        (b"", "malformed_frame"),
    ],
)
async def test_a_frame_that_makes_no_sense_is_answered_and_survived(frame, code):
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        session.text(frame)
        await until(lambda: session.of(ProtocolFault), "an answer")
        assert session.of(ProtocolFault)[0].code == code
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "the next frame to be answered")


async def test_unknown_fields_are_ignored():
    """R0.18: unknown fields are tolerated."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        session.text(b'{"kind":"request_capabilities","new_field":{"a":[1]}}')
        await until(lambda: session.of(CapabilitiesReport), "the answer")


async def test_a_fault_is_never_answered_by_a_fault():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        session.say(ProtocolFault(code="x", message="y"))
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "the answer to what came after it")
        assert session.of(ProtocolFault) == []


async def test_endless_nonsense_ends_the_connection():
    """F21: bounded patience, and the next connection is fine."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        for _ in range(200):
            session.text(b"nonsense")
        await until(lambda: session.lost, "the connection to end")
        assert session.close_code == 1008
        await cortex.welcomed(2)


@pytest.mark.parametrize(
    "message", [b"\x00", b"\x02\0\0\0\x63\0\x01x", b"\x63\0\0\0\x01\0\0", b"\x01\0\0\0\x05\0\0"]
)
async def test_a_broken_rule_of_the_tunnel_closes_with_1002(message):
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.binary(message)
        await until(lambda: session.lost, "the connection to end")
        assert session.close_code == 1002
        await cortex.welcomed(2)
        assert neuron.client.state.last_end == End.PROTOCOL


async def test_tunnel_messages_before_the_welcome_are_a_broken_rule():
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint):
        session = await cortex.session()
        session.tunnel.open(b"{}", b"", StreamLog())
        await until(lambda: session.lost, "the connection to end")
        assert session.close_code == 1002


async def test_a_frame_past_the_bound_ends_the_connection():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.text(b" " * (2 << 20))
        await until(lambda: session.lost, "the connection to end")
        await cortex.welcomed(2)
        assert neuron.client.state.last_end == End.PROTOCOL
        assert "exceeding" in neuron.client.state.last_reason


async def test_capabilities_are_told_when_asked():
    """R1.10, R1.21, R2.19, R2.20: hardware, engines and models are told on demand."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "the answer")
        (report,) = session.of(CapabilitiesReport)
        assert report.capabilities.hardware.cpu_count == 2
        assert [status.model_id for status in report.models] == ["m"]


async def test_a_heartbeat_names_the_generation_of_the_capabilities_that_were_told_last():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        (first,) = session.of(Register)
        await until(lambda: session.of(Heartbeat), "a heartbeat")
        before = session.of(Heartbeat)[-1].capabilities_generation
        assert before == first.capabilities.generation > 0
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "the answer")
        told = session.of(CapabilitiesReport)[0].capabilities.generation
        assert told > before
        await until(
            lambda: session.of(Heartbeat)[-1].capabilities_generation == told, "the next heartbeat"
        )


async def test_a_change_of_a_model_is_told_at_once():
    async with (
        CortexServer(heartbeat_interval_s=60) as cortex,
        neuron_of(cortex.endpoint) as neuron,
    ):
        session = await cortex.welcomed()
        status = ModelStatus(model_id="m", state=ModelState.FAILED, config_digest="d", because="x")
        neuron.client.report(status)
        await until(lambda: session.of(ModelReport), "the report")
        assert session.of(ModelReport)[0].status == status


async def test_health_that_changes_is_told_out_of_turn():
    """R1.12, R2.20: report_health."""
    async with (
        CortexServer(heartbeat_interval_s=60) as cortex,
        neuron_of(cortex.endpoint) as neuron,
    ):
        session = await cortex.welcomed()
        neuron.face.problems = ("model 'm' failed: no memory",)
        await until(lambda: session.of(HealthReport), "the report")
        assert session.of(HealthReport)[0].health.problems == neuron.face.problems
        neuron.face.problems = ()
        await until(lambda: len(session.of(HealthReport)) == 2, "the healing to be told")


class Echo:
    """The neuron's side of a stream: gives the body back."""

    def __init__(self, stream, head):
        self.stream = stream
        self.body = b""
        self.resets = []

    def on_data(self, data):
        self.stream.consumed(len(data))
        self.body += data

    def on_end(self, payload):
        self.stream.send_head(b'{"status":200}')
        self.stream.send_data(self.body)
        self.stream.send_end(b"{}")

    def on_reset(self, payload):
        self.resets.append(payload)

    def on_writable(self):
        pass


class Answering(Echo):
    """The neuron's side of a stream: gives the body back as a whole answer."""

    def on_end(self, payload):
        self.stream.send_answer(b'{"status":200}', self.body, b"{}")


@pytest.mark.parametrize(("version", "frames"), [(1, 3), (2, 1)])
async def test_a_whole_answer_is_one_frame_for_a_cortex_that_knows_such_frames(version, frames):
    """R0.18: what a version brought is not sent to a peer that speaks an older one."""
    async with CortexServer(version=version) as cortex, neuron_of(cortex.endpoint, Answering):
        session = await cortex.welcomed()
        kinds = []
        receive = session.tunnel.receive

        def counted(message):
            at = 0
            while at < len(message):
                kind, _, size = unpack_header(message, at)
                kinds.append(kind)
                at += HEADER_BYTES + size
            receive(message)

        session.tunnel.receive = counted
        log = StreamLog()
        log.stream = session.tunnel.open(b"{}", b"body", log)
        await log.ended()
        assert (log.data, len(kinds)) == (b"body", frames)


def counted(metrics: bytes) -> str:
    """Return our own numbers; those of the process change by themselves."""
    return "\n".join(line for line in metrics.decode().splitlines() if "helexa_" in line)


async def test_requests_go_through_the_socket_and_back():
    """R1.2: cortex and neuron talk over one websocket, requests and control alike."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, Echo) as neuron:
        session = await cortex.welcomed()
        bodies = [bytes([n]) * (n * 40_000) for n in range(1, 12)]
        logs = []
        for body in bodies:
            log = StreamLog()
            log.stream = session.tunnel.open(b"{}", body, log)
            logs.append(log)
        for log, body in zip(logs, bodies, strict=True):
            assert (await log.ended()).data == body
        text = counted(neuron.metrics.render())
        assert 'helexa_tunnel_bytes_total{direction="out"}' in text
        assert "helexa_tunnel_connections 1.0" in text
        assert counted(neuron.metrics.render()) == text, "nothing is counted twice"


async def test_what_is_ready_in_one_loop_turn_goes_out_as_one_message():
    """Performance: batching where frames are born."""
    streams = []

    class Held(Echo):
        def on_end(self, payload):
            streams.append(self.stream)

    async with CortexServer() as cortex, neuron_of(cortex.endpoint, Held) as neuron:
        session = await cortex.welcomed()
        logs = [StreamLog() for _ in range(20)]
        for log in logs:
            log.stream = session.tunnel.open(b"{}", b"", log)
        await until(lambda: len(streams) == 20, "twenty streams")
        before = neuron.client._link.traffic.messages_out
        for stream in streams:
            stream.send_head(b'{"status":200}')
            stream.send_data(b"token")
            stream.send_end(b"{}")
        for log in logs:
            await log.ended()
        assert neuron.client._link.traffic.messages_out == before + 1


async def test_a_lost_connection_resets_every_stream_of_it():
    streams = []

    class Held(Echo):
        def on_end(self, payload):
            streams.append(self)

    async with CortexServer() as cortex, neuron_of(cortex.endpoint, Held):
        session = await cortex.welcomed()
        for _ in range(3):
            session.tunnel.open(b"{}", b"", StreamLog())
        await until(lambda: len(streams) == 3, "three streams")
        session.transport.disconnect(graceful=False)
        await until(lambda: all(held.resets for held in streams), "three resets")
        assert b"upstream_connection_error" in streams[0].resets[0]


async def test_a_cortex_that_does_not_read_stalls_the_streams_and_not_the_memory():
    """F15, P6: what waits for a socket that takes nothing is bounded by the windows."""
    streams = []

    class Firehose(Echo):
        def on_end(self, payload):
            streams.append(self.stream)
            self.stream.send_head(b'{"status":200}')
            self.on_writable()

        def on_writable(self):
            while not self.stream.congested and not self.stream.over:
                self.stream.send_data(b"x" * 16384)

    slow = LinkTimes(tick_s=0.05, ping_s=0.5, silence_s=30, welcome_s=5)
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, Firehose, times=slow) as neuron:
        session = await cortex.welcomed()
        logs = [StreamLog() for _ in range(60)]
        for log in logs:
            log.stream = session.tunnel.open(b"{}", b"", log)
        await until(lambda: all(log.data for log in logs), "bytes of all streams")
        session.transport.underlying_transport.pause_reading()
        link = neuron.client._link
        sent = -1
        while sent != link.traffic.bytes_out or link._writable:  # the kernel's buffers grow
            sent = link.traffic.bytes_out
            await asyncio.sleep(0.1)
        assert sum(stream.backlog_bytes for stream in streams) < 60 * 128 * 1024
        neuron.client.report(neuron.face.models[0])  # owed, not queued
        assert link._reports_owed
        session.transport.underlying_transport.resume_reading()
        await until(lambda: not link._reports_owed, "the reports to be caught up")
        for log in logs:
            log.stream.reset()


async def test_closing_ends_the_connection_even_if_cortex_does_not_read():
    async with CortexServer() as cortex:
        async with neuron_of(cortex.endpoint):
            session = await cortex.welcomed()
            session.transport.underlying_transport.pause_reading()
        session.transport.underlying_transport.resume_reading()
