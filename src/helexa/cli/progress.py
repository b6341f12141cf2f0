"""How far a download is: a bar where a terminal is attached, else one line for each tenth.

All of it goes to standard error, so that output can be piped.
"""

import sys
from types import TracebackType
from typing import Any, Final, Protocol, Self

import click

_LONG_PHASE: Final = "download"


class ProgressDisplay(Protocol):
    """Shows how far one thing is. Called as `display(phase, done_bytes, total_bytes)`."""

    def __call__(self, phase: str, done_bytes: int, total_bytes: int | None) -> None:
        """Show that `phase` is at `done_bytes`; `total_bytes` is None where it is not known."""
        ...

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing; the terminal is as it was."""
        ...


def progress_display(label: str) -> ProgressDisplay:
    """Return the display that fits standard error."""
    return _Bar(label) if sys.stderr.isatty() else TenthLines(label)


class TenthLines:
    """One line for each tenth of a download, and one for each short phase after it."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._phase = ""
        self._tenth = -1

    def __call__(self, phase: str, done_bytes: int, total_bytes: int | None) -> None:
        """Print a line when a new phase or tenth is reached."""
        is_long = phase == _LONG_PHASE and total_bytes
        tenth = done_bytes * 10 // total_bytes if is_long and total_bytes else 0
        if phase == self._phase and tenth <= self._tenth:
            return
        self._phase, self._tenth = phase, tenth
        share = f" {tenth * 10} %" if is_long else ""
        size = f" of {size_text(total_bytes)}" if total_bytes else ""
        click.echo(f"{self._label}: {phase}{share}{size}", err=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing."""


class _Bar:
    """A bar with bytes, rate and time left, drawn by rich."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True),
            TransferSpeedColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._label = label
        self._phase = ""
        self._task: Any = None

    def __call__(self, phase: str, done_bytes: int, total_bytes: int | None) -> None:
        """Move the bar; a new phase starts a new one."""
        if phase != self._phase:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(f"{self._label}: {phase}", total=total_bytes)
            self._phase = phase
        self._progress.update(self._task, completed=done_bytes, total=total_bytes)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._progress.stop()


def size_text(count_bytes: int) -> str:
    """Return a size for people: `93.8 MiB`."""
    value = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return ""
