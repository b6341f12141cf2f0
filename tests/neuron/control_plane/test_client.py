"""The neuron's end of the control connection, against a real websocket server."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from tests.fakes.cortex_server import CortexServer
from tests.fakes.exchange_log import until
from tests.fakes.neuron_face import FakeNeuron
from tests.fakes.tunnel_pair import StreamLog

from helexa.neuron.control_plane.client import ControlClient, ControlSettings
from helexa.neuron.control_plane.link import End
from helexa.neuron.control_plane.pulse import LinkTimes
from helexa.protocol.control import (
    CapabilitiesReport,
    HealthReport,
    Heartbeat,
    LoadModel,
    ModelReport,
    ProtocolFault,
    Provisioning,
    ProvisioningResponse,
    Register,
    RequestCapabilities,
    Shutdown,
    ShutdownNotice,
    UnloadModel,
    Welcome,
)
from helexa.protocol.join import NonceMemory, check_proof
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from helexa.util.backoff import Backoff
from helexa.util.clock import SystemClock
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope

TIMES = LinkTimes(tick_s=0.01, ping_s=0.05, silence_s=0.4, welcome_s=0.2)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


class Neuron:
    """A control client at work, and what became of its tasks."""

    def __init__(self, endpoint, accept=None, **settings):
        self.failures = []
        self.tasks = TaskScope(lambda name, error: self.failures.append((name, error)))
        self.face = FakeNeuron()
        self.metrics = PrometheusMetrics()
        settings = {
            "backoff": Backoff(0.02, 0.1), "times": TIMES, "handshake_s": 1.0, **settings,
        }  # fmt: skip
        self.client = ControlClient(
            settings=ControlSettings(endpoint, **settings),
            face=self.face,
            accept=accept or (lambda stream, head: None),
            tasks=self.tasks,
            clock=SystemClock(),
            entropy=random.Random(1).random,
            nonce=lambda size: random.Random().randbytes(size).hex(),
            metrics=self.metrics,
        )
        self.run = self.tasks.start(self.client.run(), "control client")


@asynccontextmanager
async def neuron_of(endpoint, accept=None, **settings):
    neuron = Neuron(endpoint, accept, **settings)
    yield neuron
    assert not neuron.run.done(), "the client stopped dialling"
    neuron.client.close()
    await until(neuron.run.done, "the client to stop")
    await neuron.tasks.close()
    assert neuron.failures == []


def command(command_id, model_id="m", *, unload=False):
    kind = UnloadModel if unload else LoadModel
    return Provisioning(command_id=command_id, command=kind(model_id=model_id))


# ── registration ──────────────────────────────────────────────────────────────────────────────


async def test_register_comes_first_then_heartbeats_with_rising_numbers():
    """R1.18, R1.19: connects, registers first, then sends heartbeats at the interval it is told."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.session()
        await until(lambda: len(session.of(Heartbeat)) >= 4, "four heartbeats")
        register = session.messages[0]
        assert isinstance(register, Register)
        assert (register.version_min, register.version_max) == (1, 1)
        assert register.neuron.id == "n1"
        assert register.capabilities.engines == ("echo",)
        assert [status.model_id for status in register.models] == ["m"]
        assert [beat.sequence for beat in session.of(Heartbeat)][:4] == [1, 2, 3, 4]
        assert session.path == "/v1/neuron"


async def test_the_join_token_is_proven_and_never_sent():
    """S11, S14: each handshake carries a fresh proof, and a captured one is worth nothing."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, token="s3cret-token"):
        await cortex.welcomed()
        cortex.sessions[0].transport.disconnect()
        await cortex.session(2)
        clock, memory = SystemClock(), NonceMemory()
        for headers in cortex.handshakes[:2]:
            assert headers["x-helexa-node"] == "n1"
            proof = check_proof("s3cret-token", "n1", headers["x-helexa-join"], clock.wall())
            assert memory.is_new(proof.nonce, clock.wall())
            assert "s3cret" not in str(headers)


async def test_without_a_token_no_proof_is_sent():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        await cortex.welcomed()
        assert "x-helexa-join" not in cortex.sessions[0].headers


async def test_no_heartbeat_is_sent_before_the_welcome():
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint):
        session = await cortex.session()
        await until(lambda: session.lost, "the neuron to give up waiting")
        assert [type(message) for message in session.messages] == [Register]


# ── coming back ───────────────────────────────────────────────────────────────────────────────


async def test_a_lost_connection_is_dialled_again_every_time():
    """F1: not only the first connection is dialled; R1.18."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        for number in range(1, 6):
            session = await cortex.welcomed(number)
            session.transport.disconnect(graceful=False)
        await cortex.welcomed(6)


async def test_a_cortex_that_is_late_or_restarts_is_found():
    """P4: the neuron keeps its models and comes back to a cortex that restarts."""
    cortex = CortexServer()
    await cortex.start()
    await cortex.stop()
    async with neuron_of(cortex.endpoint) as neuron:
        await until(lambda: neuron.client.state.last_end == End.UNREACHABLE, "a failed attempt")
        assert not neuron.client.state.connected
        await cortex.start()
        await cortex.welcomed()
        await cortex.stop()
        await cortex.start()
        session = await cortex.welcomed(2)
        assert [status.model_id for status in session.messages[0].models] == ["m"]
        await cortex.stop()


async def test_the_delays_double_and_start_over_after_a_stable_connection():
    """F1: backoff resets after a stable period."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, stable_s=3600) as neuron:
        for number in range(1, 4):
            (await cortex.welcomed(number)).transport.disconnect()
        await cortex.welcomed(4)
        assert neuron.client.state.attempts == 3
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, stable_s=0.0) as neuron:
        for number in range(1, 4):
            (await cortex.welcomed(number)).transport.disconnect()
        await cortex.welcomed(4)
        assert neuron.client.state.attempts == 1


async def test_a_silent_cortex_is_given_up_and_dialled_again():
    """F11: a half-open connection is found by silence, not by TCP."""
    async with CortexServer(answers_pings=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.session()
        await until(lambda: session.lost, "the neuron to give the silent cortex up")
        assert session.pings >= 1
        await cortex.session(2)
        assert neuron.client.state.last_end == End.SILENT


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


async def test_a_notice_of_leave_is_followed_by_a_soon_return():
    """F09: cortex leaves; the neuron waits as it was told and dials again."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.say(ShutdownNotice(reason="update", reconnect_after_s=0.05))
        session.close(1001)
        await cortex.welcomed(2)
        assert neuron.client.state.last_end == End.NOTICE


# ── cortex says no ────────────────────────────────────────────────────────────────────────────


async def test_a_taken_node_id_is_told_and_tried_again_slowly():
    """F17: another neuron with this id is connected."""
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        (await cortex.session()).close(4409, b"n1 is connected from elsewhere")
        await until(lambda: neuron.client.state.last_end, "the end")
        assert neuron.client.state.last_end == End.NODE_ID_TAKEN
        assert "elsewhere" in neuron.client.state.last_reason
        await cortex.session(2)


@pytest.mark.parametrize("how", ["welcome", "close"])
async def test_no_common_version_is_told_and_tried_again_slowly(how):
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.session()
        if how == "welcome":
            session.say(Welcome(version=99, cortex_id="c", heartbeat_interval_s=1))
        else:
            session.close(4406, b"we speak 7 to 9")
        await until(lambda: neuron.client.state.last_end, "the end")
        assert neuron.client.state.last_end == End.VERSION
        assert not neuron.client.state.connected
        await cortex.session(2)


async def test_a_refused_handshake_is_told_and_tried_again():
    async with CortexServer(status=401) as cortex, neuron_of(cortex.endpoint) as neuron:
        await until(lambda: len(cortex.handshakes) >= 2, "another try")
        assert neuron.client.state.last_end == End.REFUSED
        assert "join token" in neuron.client.state.last_reason


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:1/v1/neuron\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\xff" * 100_000,
    ],
)
async def test_something_that_is_no_cortex_does_not_stop_the_dialling(reply):
    """S11: a proof is never sent after a redirect."""
    tries = []

    async def serve(reader, writer):
        tries.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with neuron_of(endpoint, token="t"):
        await until(lambda: len(tries) >= 3, "three tries")
    server.close()


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


# ── frames that make no sense ─────────────────────────────────────────────────────────────────


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
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        session.text(b" " * (2 << 20))
        await until(lambda: session.lost, "the connection to end")
        await cortex.welcomed(2)


# ── provisioning ──────────────────────────────────────────────────────────────────────────────


async def test_a_command_is_applied_and_answered():
    """R1.20, R1.8: Provisioning reaches NeuronControl and is answered."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.say(command("c1"))
        await until(lambda: session.of(ProvisioningResponse), "the answer")
        (response,) = session.of(ProvisioningResponse)
        assert (response.command_id, response.model_id, response.accepted) == ("c1", "m", True)
        assert neuron.face.done == ["c1"]


async def test_commands_of_one_model_keep_their_order_and_models_do_not_wait_for_each_other():
    """F15 of the earlier designs: one slow command delays nothing but its own model."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        gate = neuron.face.gates["a1"] = asyncio.Event()
        session = await cortex.welcomed()
        for message in (command("a1", "a"), command("a2", "a", unload=True), command("b1", "b")):
            session.say(message)
        await until(lambda: "b1" in neuron.face.done, "the other model's command")
        assert neuron.face.began == ["a1", "b1"]
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "an answer meanwhile")
        gate.set()
        await until(lambda: neuron.face.done[1:] == ["a1", "a2"], "the rest, in order")


async def test_a_command_that_meets_a_bug_is_answered_and_the_next_one_is_tried():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.say(command("bug"))
        session.say(command("c2"))
        await until(lambda: len(session.of(ProvisioningResponse)) == 2, "both answers")
        assert [r.accepted for r in session.of(ProvisioningResponse)] == [False, True]
        assert neuron.face.done == ["c2"]


async def test_a_command_outlives_its_connection():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        gate = neuron.face.gates["c1"] = asyncio.Event()
        session = await cortex.welcomed()
        session.say(command("c1"))
        await until(lambda: neuron.face.began, "the command to begin")
        session.transport.disconnect(graceful=False)
        second = await cortex.welcomed(2)
        gate.set()
        await until(lambda: neuron.face.done == ["c1"], "the command to be done")
        assert second.of(ProvisioningResponse) == []


async def test_capabilities_are_told_when_asked():
    """R1.10, R1.21: RequestCapabilities is answered with hardware, engines and models."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.welcomed()
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "the answer")
        (report,) = session.of(CapabilitiesReport)
        assert report.capabilities.hardware.cpu_count == 2
        assert [status.model_id for status in report.models] == ["m"]


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
    """R1.12: report_health."""
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


async def test_reports_without_a_connection_are_left_to_the_next_register():
    cortex = CortexServer()
    await cortex.start()
    await cortex.stop()
    async with neuron_of(cortex.endpoint) as neuron:
        neuron.client.report(neuron.face.models[0])
        neuron.client.announce_leave("x")
        await cortex.start()
        assert isinstance((await cortex.welcomed()).messages[1], Heartbeat)
        await cortex.stop()


async def test_leaving_is_told_before_the_connection_ends():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        neuron.client.announce_leave("shutdown")
        await until(lambda: session.of(Shutdown), "the notice")
        assert not session.lost


# ── the tunnel ────────────────────────────────────────────────────────────────────────────────


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
        neuron.client.publish()
        text = neuron.metrics.render().decode()
        assert 'helexa_tunnel_bytes_total{direction="out"}' in text
        assert "helexa_tunnel_connections 1.0" in text


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
        before = neuron.client._link.counters.messages_out
        for stream in streams:
            stream.send_head(b'{"status":200}')
            stream.send_data(b"token")
            stream.send_end(b"{}")
        for log in logs:
            await log.ended()
        assert neuron.client._link.counters.messages_out == before + 1


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
        while sent != link.counters.bytes_out or link._writable:  # the kernel's buffers grow
            sent = link.counters.bytes_out
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
