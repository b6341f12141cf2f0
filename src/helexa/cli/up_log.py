"""The output of a process of `helexa up`: the last of it in memory, the rest in a bounded file."""

import contextlib
from pathlib import Path
from typing import Final

import click

from helexa.neuron.process.output import OutputRing

LOG_BYTES_MAX: Final = 8 * 2**20


class LoggedOutput(OutputRing):
    """An output ring that writes to a file too; past a size the file starts anew.

    The file before it is kept as `NAME.1`. With `mirror`, all of it is shown on standard error.
    """

    __slots__ = ("_file_bytes", "_log", "_mirror", "_path")

    def __init__(self, path: Path, *, mirror: bool = False) -> None:
        super().__init__()
        self._path = path
        self._mirror = mirror
        self._open()

    def _open(self) -> None:
        if self._path.is_symlink() or self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._path.touch(mode=0o600)
        self._log = self._path.open("ab", buffering=0)
        self._file_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take what was printed now."""
        super().feed(data)
        # A full disk must not stop what is logged; the last lines are in memory anyway.
        with contextlib.suppress(OSError):
            if self._file_bytes + len(data) > LOG_BYTES_MAX:
                self._log.close()
                self._open()
            self._log.write(data)
            self._file_bytes += len(data)
        if self._mirror:
            click.echo(data.decode("utf-8", "replace"), nl=False, err=True)

    def close(self) -> None:
        """Close the file."""
        self._log.close()
