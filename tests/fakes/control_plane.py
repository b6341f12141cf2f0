"""A whole control plane on a loopback port, and a neuron's raw end of its websocket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from helexa.cortex.control_plane.dispatch import Dispatcher
from helexa.cortex.control_plane.join_gate import JoinGate
from helexa.cortex.control_plane.links import Links
from helexa.cortex.control_plane.loop import ControlLoop
from helexa.cortex.control_plane.server import ConnectionLimits, ControlServer
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.protocol.codec import decode_from_cortex, encode
from helexa.protocol.control import CortexMessage, NeuronMessage, ProtocolFault, Welcome
from helexa.protocol.model import ModelConfig
from helexa.util.clock import SystemClock
from helexa.util.metrics import PrometheusMetrics
from tests.fakes.waiting import until


@dataclass
class ControlPlane:
    links: Links
    loop: ControlLoop
    dispatcher: Dispatcher
    server: ControlServer
    metrics: PrometheusMetrics
    port: int
    log: list[dict[str, Any]]
    clients: list["NeuronSocket"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/neuron"

    def neuron_state(self, neuron_id: str) -> str:
        view = self.loop.snapshot().neurons.get(neuron_id)  # type: ignore[call-overload]
        return view.state.value if view is not None else "unknown"


@asynccontextmanager
async def control_plane(
    *configs: ModelConfig,
    token: str | None = None,
    limits: ConnectionLimits | None = None,
    policy: FleetPolicy | None = None,
    wall: Callable[[], float] | None = None,
    monotonic: Callable[[], float] | None = None,
) -> AsyncIterator[ControlPlane]:
    clock = SystemClock()
    metrics = PrometheusMetrics()
    log: list[dict[str, Any]] = []
    logger = recording_logger(log)
    links = Links()
    loop = ControlLoop(
        policy or FleetPolicy(),
        command_prefix="cortex-test",
        monotonic=monotonic or clock.monotonic,
        local=clock.local,
        metrics=metrics,
        logger=logger,
    )
    dispatcher = Dispatcher(
        links, loop.report, logger, cortex_id="cortex-test", heartbeat_interval_s=5.0
    )
    server = ControlServer(
        links,
        JoinGate(token, wall or clock.wall),
        loop.report,
        limits=limits or ConnectionLimits(watch_interval_s=0.05),
        clock=clock,
        metrics=metrics,
        logger=logger,
    )
    loop.connect(dispatcher.carry_out, dispatcher.answered, server.heard)
    loop.report(DesiredChanged(models=configs, cause="config"))
    bound = socket.create_server(("127.0.0.1", 0))
    await server.start([bound])
    loop.start()
    plane = ControlPlane(links, loop, dispatcher, server, metrics, bound.getsockname()[1], log)
    try:
        yield plane
    finally:
        for client in plane.clients:
            if not client.gone:
                client.cut()
        await server.close()
        loop.close()
        await until(lambda: all(c.gone for c in plane.clients), "all clients are closed")


class _Collector:
    def __init__(self, log: list[dict[str, Any]]) -> None:
        self._log = log

    def __call__(self, _logger: object, method: str, event: Any) -> Any:
        self._log.append({"level": method, **event})
        raise structlog.DropEvent


@dataclass
class NeuronSocket:
    """What arrived, and a way to send anything at all, right or wrong."""

    transport: WSTransport = None
    messages: list[CortexMessage | ProtocolFault] = field(default_factory=list)
    binary: list[bytes] = field(default_factory=list)
    close_code: int | None = None
    close_reason: str = ""
    gone: bool = False
    on_binary: Callable[[bytes], None] | None = None

    def say(self, message: NeuronMessage) -> None:
        self.transport.send(WSMsgType.TEXT, encode(message))

    def text(self, payload: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, payload)

    def raw(self, data: bytes) -> None:
        self.transport.underlying_transport.write(data)

    def of(self, kind: type) -> list[Any]:
        return [m for m in self.messages if isinstance(m, kind)]

    async def welcome(self) -> Welcome:
        await until(lambda: self.of(Welcome), "cortex welcomes the neuron")
        welcome: Welcome = self.of(Welcome)[0]
        return welcome

    async def closed(self) -> int | None:
        await until(lambda: self.gone, "the connection is closed")
        return self.close_code

    def cut(self) -> None:
        self.transport.disconnect(graceful=False)


class _Listener(WSListener):  # type: ignore[misc]
    def __init__(self, neuron: NeuronSocket) -> None:
        super().__init__()
        self._neuron = neuron

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._neuron.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        neuron = self._neuron
        if frame.msg_type == WSMsgType.TEXT:
            neuron.messages.append(decode_from_cortex(frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.BINARY:
            payload = frame.get_payload_as_bytes()
            neuron.binary.append(payload)
            if neuron.on_binary is not None:
                neuron.on_binary(payload)
        elif frame.msg_type == WSMsgType.CLOSE:
            neuron.close_code = int(frame.get_close_code())
            neuron.close_reason = frame.get_close_reason() or ""
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._neuron.gone = True

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


async def dial(plane: ControlPlane, headers: dict[str, str] | None = None) -> NeuronSocket:
    neuron = NeuronSocket()
    await ws_connect(lambda: listener_for(neuron), plane.url, extra_headers=headers or {})
    plane.clients.append(neuron)
    return neuron


def masked(opcode_byte: int, payload: bytes) -> bytes:
    """One client frame by hand, with a zero mask: `opcode_byte` holds fin, rsv and opcode bits."""
    size = len(payload)
    if size < 126:
        head = bytes([opcode_byte, 0x80 | size])
    elif size < 65536:
        head = bytes([opcode_byte, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([opcode_byte, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def json_of(message: object) -> bytes:
    return msgspec.json.encode(message)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def listener_for(neuron: NeuronSocket) -> WSListener:
    return _Listener(neuron)


def recording_logger(log: list[dict[str, Any]]) -> Any:
    """A structlog logger whose lines end up in `log`, with their level."""
    return structlog.wrap_logger(None, processors=[_Collector(log)])
