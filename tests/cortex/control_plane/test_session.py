"""One neuron's websocket over real loopback sockets, with a raw client at the other end."""

import random
import re

import pytest
from picows import WSMsgType

from helexa.cortex.control_plane.allowance import UNITS_MAX
from helexa.cortex.control_plane.server import ConnectionLimits
from helexa.cortex.control_plane.session import FAULTS_MAX
from helexa.protocol.control import (
    Heartbeat,
    ProtocolFault,
    Provisioning,
    ProvisioningResponse,
    Register,
    Shutdown,
    ShutdownNotice,
)
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from helexa.protocol.tunnel import Stream, StreamHandler, Tunnel
from helexa.protocol.version import VERSION
from tests.fakes.control_plane import NeuronSocket, control_plane, dial, json_of, masked, turns
from tests.fakes.fleet import model, register, status
from tests.fakes.waiting import until


async def test_a_neuron_registers_and_is_welcomed() -> None:
    """R1.24, R1.25: the connection is accepted and the registration is held."""
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        welcome = await neuron.welcome()
        assert welcome.version == 1
        assert welcome.heartbeat_interval_s == 5.0
        assert plane.neuron_state("n1") == "connected"
        assert any(line["event"] == "neuron_registered" for line in plane.log), "R1.40"


async def test_a_first_message_that_is_not_register_is_refused() -> None:
    """R1.24: a first message that is not Register is refused."""
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(Heartbeat(sequence=1, health=NeuronHealth(), load=NeuronLoad()))
        assert await neuron.closed() == 1008
        assert "register" in neuron.close_reason
        assert not plane.loop.snapshot().neurons


async def test_a_connection_that_never_registers_is_closed() -> None:
    limits = ConnectionLimits(register_timeout_s=0.1, watch_interval_s=0.02)
    async with control_plane(limits=limits) as plane:
        neuron = await dial(plane)
        assert await neuron.closed() == 1008


async def test_a_neuron_of_another_protocol_version_is_told_so() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        ours = register("n1")
        neuron.say(
            Register(
                version_min=7, version_max=9, neuron=ours.neuron, capabilities=ours.capabilities
            )
        )
        assert await neuron.closed() == 4406
        assert "7 to 9" in neuron.close_reason


async def test_a_newer_neuron_that_also_speaks_our_version_is_welcomed_in_it() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        ours = register("n1")
        neuron.say(
            Register(
                version_min=1, version_max=9, neuron=ours.neuron, capabilities=ours.capabilities
            )
        )
        assert (await neuron.welcome()).version == VERSION


async def test_a_second_neuron_with_the_same_id_is_refused_and_the_first_one_stays() -> None:
    async with control_plane() as plane:
        first, second = await dial(plane), await dial(plane)
        first.say(register("n1", epoch=1))
        await first.welcome()
        second.say(register("n1", epoch=2))
        assert await second.closed() == 4409
        assert not first.gone
        assert plane.loop.snapshot().neurons["n1"].conflicts == 1  # type: ignore[index]


async def test_the_same_process_takes_over_from_its_own_old_connection() -> None:
    async with control_plane() as plane:
        first, second = await dial(plane), await dial(plane)
        first.say(register("n1", epoch=5))
        await first.welcome()
        second.say(register("n1", epoch=5))
        await second.welcome()
        assert await first.closed() == 4410
        assert plane.neuron_state("n1") == "connected"


async def test_a_closed_socket_means_gone_at_once() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1", status(model("m"))))
        await neuron.welcome()
        assert plane.loop.snapshot().models["m"].replicas
        neuron.cut()
        await until(lambda: plane.neuron_state("n1") == "gone", "the neuron is gone")
        assert not plane.loop.snapshot().models["m"].replicas


async def test_configured_models_are_sent_and_loaded_over_the_wire() -> None:
    """R1.23, R2.29, R1.26: upsert, then load; answers are recorded."""
    async with control_plane(model("m")) as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        await until(lambda: neuron.of(Provisioning), "a command arrives")
        upsert = neuron.of(Provisioning)[0]
        assert upsert.command.config.id == "m"
        neuron.say(
            ProvisioningResponse(command_id=upsert.command_id, model_id="m", accepted=True)  # type: ignore[arg-type]
        )
        await until(lambda: len(neuron.of(Provisioning)) == 2, "the load arrives")
        load = neuron.of(Provisioning)[1]
        assert load.command.model_id == "m"
        answers = plane.loop.snapshot().neurons["n1"].answers  # type: ignore[index]
        assert [a.command_id for a in answers] == [upsert.command_id]


async def test_a_neuron_that_says_goodbye_is_leaving() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1", status(model("m"))))
        await neuron.welcome()
        neuron.say(Shutdown(reason="stopped by its operator"))
        await until(lambda: plane.neuron_state("n1") == "leaving", "it is leaving")
        assert not plane.loop.snapshot().models["m"].replicas


async def test_neurons_are_told_that_cortex_stops() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        await neuron.welcome()
        plane.dispatcher.say_goodbye("restart", 0.5)
        await until(lambda: neuron.of(ShutdownNotice), "the notice arrives")


# ── what a peer may do wrong ──────────────────────────────────────────────────────────────────


async def _registered(plane: object) -> NeuronSocket:
    neuron = await dial(plane)  # type: ignore[arg-type]
    neuron.say(register("n1"))
    await neuron.welcome()
    return neuron


async def test_an_unknown_kind_is_answered_and_survived() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        neuron.text(b'{"kind":"from_the_future","x":1}')
        await until(lambda: neuron.of(ProtocolFault), "a fault comes back")
        assert neuron.of(ProtocolFault)[0].code == "unknown_kind"
        neuron.say(Shutdown())
        await until(lambda: plane.neuron_state("n1") == "leaving", "the connection works on")


async def test_unknown_fields_are_ignored() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        neuron.text(b'{"kind":"shutdown","reason":"x","new_field":[1,2]}')
        await until(lambda: plane.neuron_state("n1") == "leaving", "the message is understood")


async def test_a_second_register_on_a_connection_is_a_fault() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        neuron.say(register("n2"))
        await until(lambda: neuron.of(ProtocolFault), "a fault comes back")
        assert "n2" not in plane.loop.snapshot().neurons


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(masked(0x81, b"\xff\xfe"), 1007, id="text that is not UTF-8"),
        pytest.param(masked(0x80, b"x"), 1002, id="a continuation of nothing"),
        pytest.param(masked(0x01, b"x") + masked(0x81, b"y"), 1002, id="text inside a fragment"),
        pytest.param(masked(0xC1, b"{}"), 1002, id="a reserved bit in text"),
        pytest.param(masked(0xC2, b"x"), 1002, id="a reserved bit in binary"),
        pytest.param(masked(0x83, b"x"), 1002, id="a reserved opcode"),
        pytest.param(b"\x81\x02{}", 1002, id="unmasked"),
        pytest.param(masked(0x89, b"x" * 126), 1002, id="a long ping"),
        pytest.param(masked(0x82, b"\x01"), 1002, id="half a tunnel frame"),
        pytest.param(masked(0x82, b"\x03\x00\x00\x00\x09\x00\x00"), 1002, id="a stream nobody has"),
        pytest.param(b"\x82\xff\0\0\0\0\x06\0\0\0\0\0\0\0", 1009, id="100 MB announced"),
        pytest.param(
            masked(0x01, b"x" * 1048576) + masked(0x80, b"x"), 1009, id="parts over 1 MiB"
        ),
    ],
)
async def test_a_broken_frame_closes_this_connection_with_its_code(frame: bytes, code: int) -> None:
    async with control_plane() as plane:
        other = await dial(plane)
        other.say(register("other"))
        await other.welcome()
        neuron = await _registered(plane)
        neuron.raw(frame)
        assert await neuron.closed() == code
        await until(lambda: plane.neuron_state("n1") == "gone", "the loop hears of it")
        assert plane.neuron_state("other") == "connected"
        assert not other.gone


async def test_binary_before_welcome_is_refused() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.transport.send(WSMsgType.BINARY, b"\x01\x00\x00\x00\x01\x00\x00")
        assert await neuron.closed() == 1003


async def test_a_fragmented_message_is_put_together() -> None:
    """Proxies may fragment; the pieces are one message."""
    async with control_plane() as plane:
        neuron = await dial(plane)
        whole = json_of(register("n1"))
        neuron.raw(masked(0x01, whole[:10]) + masked(0x00, whole[10:50]) + masked(0x80, whole[50:]))
        await neuron.welcome()


async def test_too_many_faults_close_the_connection() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        for _ in range(FAULTS_MAX + 1):
            neuron.text(b"{not json")
        assert await neuron.closed() == 1008
        assert len(neuron.of(ProtocolFault)) <= FAULTS_MAX


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"null", b"{}", b'{"kind":5}', b'{"kind":"heartbeat"}', b"[" * 5000, b"{" * 5000,
        b'{"kind":"heartbeat","sequence":' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}",
        b'{"kind":"model_status","status":{"model_id":"../x","state":"loaded","config_digest":""}}',
        b'{"kind":"model_status","status":{"model_id":"m","state":"flying","config_digest":""}}',
    ],
)  # fmt: skip
async def test_nonsense_in_json_is_answered_with_a_fault(body: bytes) -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        neuron.text(body)
        await until(lambda: neuron.of(ProtocolFault), "a fault comes back")
        assert plane.neuron_state("n1") == "connected"


@pytest.mark.slow
async def test_ten_thousand_malformed_frames_harm_nobody_else() -> None:
    """Mutated frames, on as many connections as it takes; the other neuron misses nothing."""
    rng = random.Random(21)
    seeds = [
        masked(0x81, json_of(register("evil"))),
        masked(0x81, b'{"kind":"heartbeat","sequence":1,"health":{},"load":{}}'),
        masked(0x82, b"\x03\x00\x00\x00\x01\x00\x02{}"),
        masked(0x89, b"ping"),
        masked(0x88, b"\x03\xe8bye"),
    ]
    async with control_plane() as plane:
        other = await dial(plane)
        other.say(register("other"))
        await other.welcome()
        evil: NeuronSocket | None = None
        connections = 0
        for number in range(10_000):
            if evil is None or evil.gone or number % 200 == 0:
                if evil is not None and not evil.gone:
                    evil.cut()
                evil = await dial(plane)
                connections += 1
                if rng.random() < 0.5:
                    evil.say(register("evil"))
            frame = bytearray(rng.choice(seeds))
            for _ in range(rng.randrange(1, 4)):
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            evil.raw(bytes(frame))
            await turns(2)
            if number % 20 == 0:
                other.say(Heartbeat(sequence=number, health=NeuronHealth(), load=NeuronLoad()))
        assert connections > 50
        failures = [line for line in plane.log if line["level"] in {"error", "critical"}]
        assert failures == []
        assert not other.gone
        other.say(Shutdown())
        await until(lambda: plane.neuron_state("other") == "leaving", "it still works")


# ── the tunnel ────────────────────────────────────────────────────────────────────────────────


class Answer:
    def __init__(self) -> None:
        self.head = b""
        self.data = b""
        self.end: bytes | None = None
        self.reset: bytes | None = None

    def on_head(self, payload: bytes) -> None:
        self.head = payload

    def on_data(self, data: bytes) -> None:
        self.data += data

    def on_end(self, payload: bytes) -> None:
        self.end = payload

    def on_reset(self, payload: bytes) -> None:
        self.reset = payload

    def on_writable(self) -> None: ...


class Echo(Answer):
    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def on_data(self, data: bytes) -> None:
        self.stream.consumed(len(data))
        super().on_data(data)

    def on_end(self, payload: bytes) -> None:
        self.stream.send_head(b"{}")
        self.stream.send_data(self.data)
        self.stream.send_end(b"trailer")


def _serve_echo(neuron: NeuronSocket) -> Tunnel:
    def accept(stream: Stream, _head: bytes) -> StreamHandler:
        return Echo(stream)

    def wake() -> None:
        pass

    def fault(error: Exception) -> None:
        raise error

    tunnel = Tunnel(accept=accept, wake=wake, fault=fault)

    def on_binary(message: bytes) -> None:
        tunnel.receive(message)
        while out := tunnel.take():
            neuron.transport.send(WSMsgType.BINARY, out)

    neuron.on_binary = on_binary
    return tunnel


async def test_requests_travel_through_the_tunnel_and_back() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        _serve_echo(neuron)
        bodies = [bytes([n % 256]) * (n * 1000) for n in range(40)]
        answers = [Answer() for _ in bodies]
        for body, answer in zip(bodies, answers, strict=True):
            assert plane.links.open_stream("n1", 1, b"head", body, answer) is not None  # type: ignore[arg-type]
        await until(lambda: all(a.end is not None for a in answers), "all answers are there")
        assert [a.data for a in answers] == bodies
        assert {a.end for a in answers} == {b"trailer"}
        text = plane.metrics.render().decode()
        assert 'helexa_tunnel_connections{neuron="n1"} 1.0' in text
        counted = re.findall(r'helexa_tunnel_bytes_total{direction="(\w+)"} (\S+)', text)
        sent_bytes = sum(map(len, bodies))
        assert all(float(count) > sent_bytes for _, count in counted)
        assert len(counted) == 2
        neuron.cut()
        await until(lambda: not len(plane.server), "the connection is gone")
        text = plane.metrics.render().decode()
        assert "helexa_tunnel_connections{" not in text
        assert re.findall(r'helexa_tunnel_bytes_total{direction="(\w+)"} (\S+)', text) == counted


async def test_a_stream_for_another_process_of_the_neuron_is_not_opened() -> None:
    async with control_plane() as plane:
        await _registered(plane)
        assert plane.links.open_stream("n1", 2, b"", b"", Answer()) is None  # type: ignore[arg-type]
        assert plane.links.open_stream("n9", 1, b"", b"", Answer()) is None  # type: ignore[arg-type]


async def test_a_lost_connection_resets_every_stream_at_once() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        answers = [Answer() for _ in range(8)]
        for answer in answers:
            plane.links.open_stream("n1", 1, b"head", b"body", answer)  # type: ignore[arg-type]
        await until(lambda: neuron.binary, "the requests arrive")
        neuron.cut()
        await until(lambda: all(a.reset is not None for a in answers), "every stream is reset")
        assert all(b"upstream_connection_error" in (a.reset or b"") for a in answers)


async def test_a_neuron_that_takes_nothing_is_cut() -> None:
    limits = ConnectionLimits(stall_timeout_s=0.1, watch_interval_s=0.02)
    async with control_plane(limits=limits) as plane:
        neuron = await _registered(plane)
        neuron.transport.underlying_transport.pause_reading()
        answers = [Answer() for _ in range(200)]
        for answer in answers:
            plane.links.open_stream("n1", 1, b"head", b"x" * 200_000, answer)  # type: ignore[arg-type]
        await until(lambda: plane.neuron_state("n1") == "gone", "the stalled neuron is gone")
        assert all(a.reset is not None for a in answers)


async def test_pings_keep_a_quiet_neuron_known_as_alive() -> None:
    limits = ConnectionLimits(ping_interval_s=0.05, watch_interval_s=0.02)
    async with control_plane(limits=limits) as plane:
        await _registered(plane)
        (_, _, link), *_rest = plane.links.current()
        before = link.heard_s
        await until(lambda: link.heard_s > before, "a pong counts as heard")
        rtt = "helexa_tunnel_rtt_seconds_count 0.0"
        await until(lambda: rtt not in plane.metrics.render().decode(), "a round trip is told")


async def test_model_states_arrive_and_are_routable() -> None:
    async with control_plane() as plane:
        neuron = await _registered(plane)
        config = model("m")
        neuron.say(
            Heartbeat(
                sequence=1,
                health=NeuronHealth(),
                load=NeuronLoad(active_requests=2),
                models=(status(config, ModelState.LOADED),),
            )
        )
        await until(lambda: "m" in plane.loop.snapshot().models, "the model is known")
        assert plane.loop.snapshot().models["m"].replicas[0].neuron_id == "n1"


async def test_a_neuron_that_says_too_much_is_heard_later_and_loses_nothing() -> None:
    """P5: a flood of messages held up everybody's requests for as long as it lasted."""
    async with control_plane() as plane:
        neuron, other = await dial(plane), await dial(plane)
        neuron.say(register("n1"))
        await neuron.welcome()
        beat = Heartbeat(sequence=1, health=NeuronHealth(), load=NeuronLoad())
        for _ in range(int(UNITS_MAX) + 50):
            neuron.say(beat)
        neuron.say(Shutdown(reason="at last"))
        told = 'helexa_neuron_faults_total{code="too_much"} 1.0'
        await until(lambda: told in plane.metrics.render().decode(), "it is not read for a while")
        other.say(register("n2"))
        await other.welcome()
        await until(lambda: plane.neuron_state("n1") == "leaving", "all of it was taken")


async def test_a_connection_that_ends_while_it_is_not_read_is_forgotten() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        await neuron.welcome()
        for _ in range(8):
            neuron.text(b'{"kind":"shutdown","reason":"' + b"x" * 200_000 + b'"}')
        told = 'helexa_neuron_faults_total{code="too_much"}'
        await until(lambda: told in plane.metrics.render().decode(), "it is not read for a while")
        neuron.cut()
        await until(lambda: plane.neuron_state("n1") == "gone", "its end is seen")
