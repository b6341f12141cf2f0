"""One neuron, wired: every part is made here, in this order, and ended in the other.

state folder (locked) → hardware → engines → supervisor → executor → control client, local API
"""

import asyncio
import os
import platform
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from helexa import __version__
from helexa.config.keys import read_token_file
from helexa.config.neuron import NeuronConfig
from helexa.model_runtime.engines.catalogue import ENGINES
from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.store import ModelStore
from helexa.model_runtime.packaged import packaged_servers
from helexa.neuron.control_plane import local_api
from helexa.neuron.control_plane.client import ControlClient, ControlSettings
from helexa.neuron.hardware.report import memory_budget_bytes, physical_cores, read_hardware
from helexa.neuron.process.binaries import find_binaries
from helexa.neuron.process.ports import PortPool
from helexa.neuron.process.spawn import Spawner
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.policy import Policy
from helexa.neuron.runtime.engine_client import ClientLimits, EngineClient
from helexa.neuron.runtime.executor import Executor
from helexa.neuron.runtime.limits import ExecutorLimits
from helexa.neuron.runtime.model_metrics import ModelMetrics
from helexa.neuron.runtime.neuron_face import EngineUse, NeuronFace, engine_uses
from helexa.neuron.runtime.scrape import Scrape
from helexa.neuron.runtime.state_folder import StateFolder
from helexa.neuron.runtime.supervisor import Supervisor
from helexa.neuron.runtime.supervisor_ports import Outfit, World
from helexa.neuron.runtime.supervisor_seats import Seats
from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import HardwareReport, NeuronDescriptor
from helexa.util import logging
from helexa.util.clock import SystemClock
from helexa.util.errors import ConfigError, HelexaError, describe
from helexa.util.metrics import Metrics, NoMetrics, PrometheusMetrics
from helexa.util.tasks import TaskScope
from helexa.util.vitals import start_vitals

_VERSION_PROBES: Final = {"llama-server": ("--version",)}
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_log = logging.get("neuron")


@dataclass(frozen=True, slots=True)
class Running:
    """A neuron at work, for whoever started it in the same process."""

    node_id: str
    api_port: int | None
    client: ControlClient
    supervisor: Supervisor
    stop: asyncio.Event


async def run(config: NeuronConfig, on_ready: Callable[[Running], None] | None = None) -> None:
    """Run a neuron until SIGINT, SIGTERM or `Running.stop`; returns when nothing of it is left.

    A second signal ends running requests at once. Raises ConfigError or LimitError before anything
    is started, and HelexaError where the neuron itself broke.
    """
    async with AsyncExitStack() as stack:
        state = StateFolder(config.state_dir)
        state.open()
        stack.callback(state.close)
        neuron = _Neuron(config, state)
        await neuron.start()
        try:
            neuron.listen_to_signals(stack)
            if on_ready is not None:
                on_ready(neuron.running)
            await neuron.stop.wait()
        finally:
            await neuron.close()
        if neuron.broken is not None:
            raise HelexaError(
                f"the neuron stopped because of a fault of its own: {describe(neuron.broken)}",
                error_id="HX-2404",
                hint="start it again; its log has the details",
            ) from neuron.broken


class _Neuron:
    """The parts of one neuron."""

    def __init__(self, config: NeuronConfig, state: StateFolder) -> None:
        self._config = config
        self._state = state
        self._clock = SystemClock()
        self._started_at = self._clock.monotonic()
        self._metrics: Metrics = PrometheusMetrics() if config.metrics.enabled else NoMetrics()
        self._model_metrics = ModelMetrics(self._metrics)
        self._tasks = TaskScope(self._task_failed)
        self._api: local_api.ApiServer | None = None
        self._hurry = asyncio.Event()
        self._log = _log.bind(neuron_id=config.node_id)
        self.stop = asyncio.Event()
        self.broken: BaseException | None = None

    # ── start ─────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Make and start every part; what cannot work is found before anything runs."""
        config = self._config
        token = "" if config.join_token_file is None else read_token_file(config.join_token_file)
        tls = _tls_context(config)
        listener = self._bind_api()
        try:
            hardware = await asyncio.to_thread(read_hardware)
            spawner = Spawner(
                self._state.path,
                sys.executable,
                program_environment=config.program_environment,
                clock=self._clock,
            )
            for orphan in await asyncio.to_thread(spawner.reap_orphans):
                self._log.warning("killed what a dead neuron left", orphan=str(orphan))
            binaries, uses = await _find_engines(config, spawner)
            self._wire(hardware, spawner, binaries, uses)
            configs = self._state.configs()
            await self._supervisor.start(configs)
        except BaseException:
            if listener is not None:
                listener.close()
            raise
        self._client = self._make_client(token, tls)
        self._client_task = self._tasks.start(self._client.run(), "control client")
        start_vitals(self._metrics, __version__, self._clock, self._tasks)
        if listener is not None:
            self._serve_api(listener)
        self._log.info(
            "neuron started", version=__version__, cortex=str(config.cortex_control_endpoint),
            api=str(config.api.socket), engines=[use.name for use in uses if use.usable],
            models_known=len(configs),
        )  # fmt: skip

    def _wire(
        self,
        hardware: HardwareReport,
        spawner: Spawner,
        binaries: dict[str, str],
        uses: tuple[EngineUse, ...],
    ) -> None:
        config, times = self._config, self._config.timeouts
        budget_bytes = memory_budget_bytes(hardware, config.memory_budget_bytes)
        engines = {name: ENGINES[name] for name in config.engines.allowed}
        seats = Seats(
            self._clock,
            queue_max=config.admission.waiting_requests_max,
            wait_s_max=config.admission.wait_s_max,
        )
        self._supervisor = Supervisor(
            _policy(config),
            Limits(budget_bytes, drain_s=times.drain_s, stop_grace_s=times.stop_s),
            _outfit(config, self._state.path, hardware, binaries),
            World(
                store=_store(config, spawner, self._model_metrics.downloaded),
                spawner=spawner,
                free_ports=PortPool(config.engines.port_first, config.engines.port_last),
                seats=seats,
                on_status=self._on_status,
                save_configs=self._state.save_configs,
                on_broken=self._on_broken,
                clock=self._clock,
            ),
        )
        client_limits = ClientLimits(connect_s=times.connect_s, first_byte_s=times.first_byte_s)
        self._engine_client = EngineClient(self._tasks, client_limits)
        self._executor = Executor(
            models=self._supervisor,
            seats=seats,
            engines=engines,
            client=self._engine_client,
            clock=self._clock,
            metrics=self._metrics,
            limits=ExecutorLimits(stall_s=times.stall_s),
        )
        self._face = NeuronFace(
            descriptor=NeuronDescriptor(
                id=config.node_id,  # type: ignore[arg-type]  # checked by the config
                epoch=self._state.next_epoch(self._clock.wall()),
                software_version=__version__,
                hostname=platform.node(),
                labels={"operator": config.mesh.operator, **config.labels},
            ),
            hardware=hardware,
            read_hardware=read_hardware,
            budget_bytes=budget_bytes,
            engines=uses,
            supervisor=self._supervisor,
            seats=seats,
        )
        self._metrics.before_render(partial(self._face.publish, self._metrics))
        world = (self._metrics, self._tasks, self._clock.monotonic)
        self._scrape = Scrape(*world, self._supervisor.engines, engines, config.weights_folder)

    def _make_client(self, token: str, tls: ssl.SSLContext | None) -> ControlClient:
        return ControlClient(
            settings=ControlSettings(
                str(self._config.cortex_control_endpoint), token=token, tls=tls
            ),
            face=self._face,
            accept=self._executor.accept,
            tasks=self._tasks,
            clock=self._clock,
            entropy=secrets.SystemRandom().random,
            nonce=secrets.token_hex,
            metrics=self._metrics,
        )

    # ── the local API ─────────────────────────────────────────────────────────────────────────

    def _bind_api(self) -> socket.socket | None:
        where = self._config.api.socket
        return None if where is None else local_api.bind(where.host, where.port)

    def _serve_api(self, listener: socket.socket) -> None:
        where = self._config.api.socket
        assert where is not None
        tell_metrics = self._scrape.told if self._config.metrics.enabled else None
        app = local_api.make_app(self._face.health, self._status, tell_metrics)
        self._api = local_api.ApiServer(
            local_api.guarded(app, loopback=where.is_loopback), listener
        )
        self._api_task = self._tasks.start(self._api.run_until_stopped(), "local API")

    def _status(self) -> object:
        face = self._face
        return {
            "neuron": face.descriptor,
            "uptime_s": round(self._clock.monotonic() - self._started_at, 1),
            "cortex": self._client.state,
            "health": face.health(),
            "load": face.load(),
            "capabilities": face.known_capabilities(),
            "engines": face.engines,
            "models": [
                {**msgspec.to_builtins(status), "log_tail": face.log_tail(status.model_id)}
                for status in face.statuses(with_config=True)
            ],
        }

    # ── while it runs ─────────────────────────────────────────────────────────────────────────

    @property
    def running(self) -> Running:
        """What `on_ready` is told."""
        port = self._api.port if self._api is not None else None
        return Running(self._config.node_id, port, self._client, self._supervisor, self.stop)

    def listen_to_signals(self, stack: AsyncExitStack) -> None:
        """Stop on the first SIGINT or SIGTERM, hurry on the second."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            # Only the main thread can; elsewhere (tests, embedding) `Running.stop` does it.
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self._on_signal, number)
                stack.callback(loop.remove_signal_handler, number)

    def _on_signal(self, number: int) -> None:
        if self.stop.is_set():
            self._hurry.set()
        self._log.info("neuron stops", signal=signal.Signals(number).name)
        self.stop.set()

    def _on_status(self, status: ModelStatus) -> None:
        self._model_metrics.told(status, self._clock.monotonic())
        # Statuses of restored models come before there is a client; `register` tells those.
        client: ControlClient | None = getattr(self, "_client", None)
        if client is not None:
            client.report(status)

    def _on_broken(self, error: BaseException) -> None:
        self.broken = self.broken or error
        self.stop.set()

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._log.error("task failed", task=name, error=describe(error))
        self._on_broken(error)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """Drain, stop the engines, close everything; bounded by the configured times."""
        self._client.announce_leave("the neuron stops")
        cut = await self._drain()
        await self._supervisor.close()
        self._client.close()
        self._engine_client.close()
        waiting: list[asyncio.Task[Any]] = [self._client_task]
        if self._api is not None:
            self._api.stop()
            waiting.append(self._api_task)
        await asyncio.wait(waiting, timeout=5.0)
        left = await self._tasks.close()
        await self._scrape.close()
        self._log.info("neuron stopped", requests_cut=cut, tasks_left=left)

    async def _drain(self) -> int:
        """Wait for running requests, unless somebody is in a hurry; return how many were cut."""
        drain = self._tasks.start(self._executor.drain(self._config.timeouts.drain_s), "drain")
        hurry = self._tasks.start(self._hurry.wait(), "hurry")
        await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if drain.done():
            return int(drain.result())
        drain.cancel()
        return await self._executor.drain(0.0)


# ── from settings to parts ────────────────────────────────────────────────────────────────────


def _policy(config: NeuronConfig) -> Policy:
    return Policy(
        engines={name: ENGINES[name] for name in config.engines.allowed},
        model_folders=tuple(str(folder) for folder in config.model_roots),
        attach_urls=tuple(str(url) for url in config.attach.servers),
        attach_any=config.attach.any_server,
    )


def _outfit(
    config: NeuronConfig, folder: Path, hardware: HardwareReport, binaries: dict[str, str]
) -> Outfit:
    threads = config.engines.threads
    return Outfit(
        python=sys.executable,
        key_folder=folder / "keys",
        threads=threads if threads is not None else physical_cores(),
        binaries=binaries,
        gpu=bool(hardware.devices),
        cpu_features=frozenset(hardware.cpu_features),
        secrets_folder=config.secrets_folder,
        load_s=config.timeouts.load_s,
    )


def _store(config: NeuronConfig, spawner: Spawner, downloaded: Callable[[int], None]) -> ModelStore:
    hub = config.hub.endpoint
    return ModelStore(
        config.weights_folder,
        further_folders=config.model_folders,
        packages=PipFetcher(spawner.run_program),
        hub=None if hub is None else HubFetcher(str(hub), config.hub.token_file),
        downloaded=downloaded,
    )


async def _find_engines(
    config: NeuronConfig, spawner: Spawner
) -> tuple[dict[str, str], tuple[EngineUse, ...]]:
    """Return the executables that engines may use, and which allowed engines can run."""
    engines = {name: ENGINES[name] for name in config.engines.allowed}
    packaged = packaged_servers()
    names = {name for engine in engines.values() for name in engine.binaries} - set(packaged)
    found = await find_binaries(
        sorted(names),
        {name: str(path) for name, path in config.engines.binaries.items()},
        config.program_environment.get("PATH", os.defpath),
        spawner.run_program,
        _VERSION_PROBES,
    )
    binaries = {**packaged, **found.usable}
    return binaries, engine_uses(engines, binaries, found.problems)


def _tls_context(config: NeuronConfig) -> ssl.SSLContext | None:
    endpoint, ca_file = config.cortex_control_endpoint, config.tls.ca_file
    if endpoint is None or not endpoint.is_encrypted:
        return None
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise ConfigError(
            f"tls.ca_file {ca_file} cannot be used: {error}", error_id="HX-2405"
        ) from error
