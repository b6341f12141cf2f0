"""The private folder in which one neuron keeps what outlives a restart. One process at a time.

<state>/neuron/lock           held (flock) while a neuron runs; holds its process id
<state>/neuron/models.json    the configs that it knows
<state>/neuron/epoch.json     the number of its last start
<state>/neuron/…              run records, keys and the home of its engines
"""

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from helexa.cache.json_store import JsonStore
from helexa.protocol.model import ModelConfig
from helexa.util.errors import ConfigError, HelexaError, LimitError
from helexa.util.regular_files import open_lock_file

FOLDER: Final = "neuron"
_LOCK: Final = "lock"


class ModelConfigState(msgspec.Struct, frozen=True):
    """The configs that a neuron was given, by id."""

    configs: tuple[ModelConfig, ...] = ()


class NeuronEpoch(msgspec.Struct, frozen=True):
    """The epoch of the last start."""

    epoch: int = 0


class StateFolder:
    """The neuron's folder, locked from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path / FOLDER
        self._models = JsonStore(self.path / "models.json", ModelConfigState)
        self._epoch = JsonStore(self.path / "epoch.json", NeuronEpoch)
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folder (0700) and lock it.

        Raises ConfigError where it cannot be made, LimitError where another neuron has it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = open_lock_file(self.path / _LOCK)
        except OSError as error:
            raise ConfigError(
                f"the state folder {self.path} cannot be used: {error.strerror}: {error.filename}",
                error_id="HX-2401",
                hint="choose another one with --state-dir",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise LimitError(
                f"another neuron (process {holder}) uses the state folder {self.path}",
                error_id="HX-2402",
                hint="stop it, or give this one its own --state-dir and --node-id",
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def close(self) -> None:
        """Let another neuron have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def configs(self) -> tuple[ModelConfig, ...]:
        """Return the configs that were kept; none where the file is missing or damaged."""
        return self._models.load(ModelConfigState).value.configs

    def save_configs(self, configs: tuple[ModelConfig, ...]) -> None:
        """Keep these configs and no others. Blocks; raises OSError when the disk refuses."""
        try:
            self._models.save(ModelConfigState(configs))
        except HelexaError as error:
            raise OSError(error.message) from error

    def next_epoch(self, wall_s: float) -> int:
        """Return the number of this start: the date in ms, or more where the date went back."""
        last = self._epoch.load(NeuronEpoch).value.epoch
        epoch = max(int(wall_s * 1000), last + 1)
        self._epoch.save(NeuronEpoch(epoch))
        return epoch
