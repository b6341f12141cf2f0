"""A real cortex and as many websocket neurons as asked for, all on loopback, all in one process.

The neurons are as thin as can be: they register, tell heartbeats, answer commands with a yes that
nothing follows from, and dial again when they are cut. What is measured is cortex.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.processes import PinnedProcess, free_port
from bench.targets import TargetUnavailableError, request
from bench.tools import BENCH_DIR
from helexa.protocol.codec import encode
from helexa.protocol.control import (
    Heartbeat,
    Provisioning,
    ProvisioningResponse,
    Register,
    UpsertModelConfig,
)
from helexa.protocol.ids import ModelId
from helexa.protocol.join import CONTROL_PATH
from helexa.protocol.neuron import NeuronHealth, NeuronLoad

HEARTBEAT_S = 5.0
DIAL_AGAIN_S = 0.2
LIMIT_S = 120.0
DIALLING_MAX = 64
"""Handshakes at a time; the listen queue of a socket is not endless."""
CONFIG = """\
[gateway]
socket = "127.0.0.1:{gateway}"

[control_plane]
socket = "127.0.0.1:{control}"
neurons_max = {neurons_max}

[admin]
socket = "127.0.0.1:{admin}"
"""
MODEL = """
[[models]]
id = "{model}"
engine = "echo"
min_replicas = {each}
max_replicas = {each}
"""
_provisioning = msgspec.json.Decoder(Provisioning)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long a cortex took to know and route to all of its neurons, in seconds."""

    neurons: int
    models: int
    first_s: float
    start_s: float
    again_s: float
    cpu_s: float
    rss_mib: float
    commands: int


class _Link(WSListener):  # type: ignore[misc]  # picows has no usable type information
    def __init__(self, crowd: "_Crowd", register: Register) -> None:
        super().__init__()
        self._crowd, self._register = crowd, register
        self._beat: asyncio.TimerHandle | None = None
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.send(WSMsgType.TEXT, encode(self._register))
        number = hash(self._register.neuron.id) % 1000 / 1000
        self._beat = asyncio.get_running_loop().call_later(HEARTBEAT_S * number, self._tell)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.TEXT and b'"kind":"provisioning"' in payload:
            self._crowd.commands += 1
            message = _provisioning.decode(payload)
            command = message.command
            upsert = isinstance(command, UpsertModelConfig)
            answer = ProvisioningResponse(
                command_id=message.command_id,
                model_id=command.config.id if upsert else command.model_id,
                accepted=True,
            )
            transport.send(WSMsgType.TEXT, encode(answer))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._beat is not None:
            self._beat.cancel()

    def _tell(self) -> None:
        assert self._transport is not None
        models = self._register.models
        message = Heartbeat(sequence=1, health=NeuronHealth(), load=NeuronLoad(), models=models)
        self._transport.send(WSMsgType.TEXT, encode(message))
        self._beat = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._tell)


class _Crowd:
    """All the neurons."""

    def __init__(self, port: int) -> None:
        self.commands = 0
        self._url = f"ws://127.0.0.1:{port}{CONTROL_PATH}"
        self._turns = asyncio.Semaphore(DIALLING_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, register: Register) -> None:
        """Keep one neuron connected from now on."""
        task = asyncio.get_running_loop().create_task(self._dial(register))
        self._tasks.add(task)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _dial(self, register: Register) -> None:
        while True:
            try:
                async with self._turns:
                    transport, _ = await ws_connect(lambda: _Link(self, register), self._url)
                await transport.wait_disconnected()
            except Exception:  # noqa: BLE001  # it is down, or full, or starting
                await asyncio.sleep(DIAL_AGAIN_S)


class _Cortex:
    """The process, its ports and its state folder."""

    def __init__(self, models: list[ModelId], each: int, neurons: int, directory: Path) -> None:
        self.control, self.admin = free_port(), free_port()
        self._directory = directory
        self._config = directory / "cortex.toml"
        ports = {"gateway": free_port(), "control": self.control, "admin": self.admin}
        text = CONFIG.format(**ports, neurons_max=neurons + 64)
        self._config.write_text(text + "".join(MODEL.format(model=m, each=each) for m in models))
        self.process: PinnedProcess | None = None

    def start(self) -> None:
        source = BENCH_DIR.parent / "src"
        flags = [f"--config={self._config}", f"--state-dir={self._directory / 'state'}"]
        self.process = PinnedProcess(
            "cortex",
            [sys.executable, "-m", "helexa", "cortex", *flags, "--log-level=warning"],
            core=max(os.sched_getaffinity(0)),
            log=self._directory / "cortex.log",
            environment={"PYTHONPATH": str(source)},
        )

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.process_id, signal.SIGKILL)

    def known(self) -> tuple[int, int]:
        """Return how many neurons are connected and how many replicas may be routed to."""
        status, body = request(self.admin, "GET", "/api/v1/models")
        if status != 200:
            return 0, 0
        models = json.loads(body)
        models = models["models"] if isinstance(models, dict) else models
        replicas = [replica for model in models for replica in model["replicas"]]
        return len({replica["neuron"] for replica in replicas}), len(replicas)


async def _until_whole(cortex: _Cortex, neurons: int, replicas: int) -> tuple[float, float]:
    """Wait until all is known; return the seconds to the first answer, and to that."""
    started_s, first_s = time.perf_counter(), 0.0
    while time.perf_counter() - started_s < LIMIT_S:
        with contextlib.suppress(OSError):
            found = await asyncio.to_thread(cortex.known)
            first_s = first_s or time.perf_counter() - started_s
            if found == (neurons, replicas):
                return first_s, time.perf_counter() - started_s
        assert cortex.process is not None
        if not cortex.process.is_running():
            raise TargetUnavailableError(f"cortex ended: {cortex.process.log_tail()}")
        await asyncio.sleep(0.05)
    raise TargetUnavailableError(f"not whole after {LIMIT_S:g} s: {found}")


async def _recover(
    registers: list[Register], models: list[ModelId], each: int, directory: Path
) -> Recovery:
    cortex = _Cortex(models, each, len(registers), directory)
    replicas = sum(len(register.models) for register in registers)
    crowd = _Crowd(cortex.control)
    cortex.start()
    try:
        for register in registers:
            crowd.join(register)
        _, first_s = await _until_whole(cortex, len(registers), replicas)
        await asyncio.sleep(7.0)  # what it knows is written down every five seconds
        cortex.kill()
        crowd.commands = 0
        cortex.start()
        start_s, again_s = await _until_whole(cortex, len(registers), replicas)
        process = cortex.process
        assert process is not None
        return Recovery(
            neurons=len(registers),
            models=len(models),
            first_s=first_s,
            start_s=start_s,
            again_s=again_s,
            cpu_s=process.cpu_s(),
            rss_mib=process.rss_mib(),
            commands=crowd.commands,
        )
    finally:
        crowd.close()
        if cortex.process is not None:
            cortex.process.stop()


def recover(
    registers: list[Register], models: list[ModelId], each: int, directory: Path
) -> Recovery:
    """Start a cortex, connect all neurons, kill it, start it again; say how long it took."""
    return asyncio.run(_recover(registers, models, each, directory))
