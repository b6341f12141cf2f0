"""Starting one engine: port, key, plan, process; and giving back what it held."""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from helexa.model_runtime.interfaces import AttachPlan, EngineDescription, Launch
from helexa.neuron.registry.commands import StartEngine
from helexa.neuron.runtime.supervisor_ports import EngineSpawner, Outfit, Ports, RunningProcess
from helexa.util.errors import ConfigError
from helexa.util.regular_files import read_regular

KEY_BYTES_MAX: Final = 4096


@dataclass(slots=True)
class Started:
    """An engine that runs, or a server that is attached to (`process` is None)."""

    endpoint: str
    headers: Mapping[str, str]
    process: RunningProcess | None = None
    program: str = ""
    """The executable of `process`."""
    port: int | None = None
    key_file: Path | None = None
    given_back: bool = field(default=False)


class Launcher:
    """Turns `StartEngine` into a running process, by the engine's description."""

    def __init__(
        self,
        engines: Mapping[str, EngineDescription],
        outfit: Outfit,
        spawner: EngineSpawner,
        ports: Ports,
    ) -> None:
        self._engines = engines
        self._outfit = outfit
        self._binaries = dict(outfit.binaries)
        self._spawner = spawner
        self._ports = ports

    async def start(self, command: StartEngine) -> Started:
        """Start or attach. Raises HelexaError; ValueError where the description sees no way."""
        engine = self._engines[command.config.engine]
        if not engine.spawns:
            plan = engine.attach(command.config)
            return Started(plan.endpoint, attach_headers(plan, self._outfit))
        started = Started("", {}, port=self._ports.take())
        try:
            return await self._spawn(engine, command, started)
        except BaseException:  # also when cancelled: port and key are not kept
            self.give_back(started)
            raise

    async def _spawn(
        self, engine: EngineDescription, command: StartEngine, started: Started
    ) -> Started:
        key = secrets.token_urlsafe(24)
        started.key_file = self._outfit.key_folder / f"engine-{command.attempt}.key"
        write_key(started.key_file, key)
        assert started.port is not None
        plan = engine.launch(
            Launch(
                config=command.config,
                weights_path=command.weights.path,
                weights=command.weights.summary,
                port=started.port,
                api_key=key,
                key_file=str(started.key_file),
                threads=self._outfit.threads,
                binaries=self._binaries,
                python=self._outfit.python,
                gpu=self._outfit.gpu,
                cpu_features=self._outfit.cpu_features,
            )
        )
        started.program = plan.argv[0]
        started.process = await self._spawner.start(plan, command.model_id)
        started.endpoint, started.headers = plan.endpoint, plan.headers
        return started

    def set_aside(self, engine: str, program: str) -> bool:
        """Use an executable no more; False where the engine has no other, or it is none of its own.

        For one that this CPU cannot run after all: many a build finds that out only when it loads
        a model, and not when it is asked for its version.
        """
        names = [name for name in self._engines[engine].binaries if name in self._binaries]
        broken = [name for name in names if self._binaries[name] == program]
        if not broken or len(broken) == len(names):
            return False
        for name in broken:
            del self._binaries[name]
        return True

    def give_back(self, started: Started) -> None:
        """The engine is gone: its port is free and its key is nobody's. Once is enough."""
        if started.given_back:
            return
        started.given_back = True
        if started.port is not None:
            self._ports.give_back(started.port)
        if started.key_file is not None:
            with suppress(OSError):
                started.key_file.unlink()


def write_key(path: Path, key: str) -> None:
    """Write a key to a new private file; one that a dead neuron left there is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(key)


def attach_headers(plan: AttachPlan, outfit: Outfit) -> dict[str, str]:
    """Return the headers for an attached server; raises ConfigError for a key file out of bounds.

    The key file that the model's config names must lie in the neuron's secrets folder: a cortex may
    not choose which file leaves the machine.
    """
    if plan.key_file is None:
        return {}
    folder = outfit.secrets_folder
    if folder is None:
        raise ConfigError(
            "this neuron has no secrets folder, so a model's config may name no key file",
            error_id="HX-2310",
            hint="set [attach] secrets_dir in the neuron's own config",
        )
    real, root = (folder / plan.key_file).resolve(), folder.resolve()
    if not real.is_relative_to(root) or not real.is_file():
        raise ConfigError(
            f"key file {plan.key_file!r} is not a file inside {folder} (rule R5)",
            error_id="HX-2311",
        )
    return {plan.key_header: plan.key_prefix + read_key(real)}


def read_key(path: Path) -> str:
    """Return the stripped text of a key file; raises ConfigError where it holds no usable key."""
    try:
        data = read_regular(path, KEY_BYTES_MAX, follow=True)
    except OSError as error:
        raise ConfigError(
            f"cannot read the key file {path}: {error.strerror}", error_id="HX-2312"
        ) from error
    key = data.decode("ascii", "replace").strip()
    if not key or not key.isprintable() or not key.isascii():
        raise ConfigError(
            f"key file {path} holds no key: one line of printable ASCII is allowed",
            error_id="HX-2313",
        )
    return key
