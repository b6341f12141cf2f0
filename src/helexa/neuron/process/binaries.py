"""Which executables engines may use: found, owned by whom they should be, and able to run here.

Rule R1: a binary is an absolute path that the neuron's own config names, or one found on the
search path that the config gives; it belongs to root or to the neuron's user, and nobody else can
write to it or put another in its place.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from helexa.neuron.process.guarded import StartError
from helexa.util.errors import TimedOutError

RULE: Final = "R1"
VERSION_S_MAX: Final = 20.0
_LINKS_MAX: Final = 40
"""As many as Linux follows."""


class RunProgram(Protocol):
    """Runs a program to its end; `Spawner.run_program` is one."""

    async def __call__(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Return exit status and last lines."""
        ...


@dataclass(frozen=True, slots=True)
class Binaries:
    """What was found: usable paths by name, and why the others are not usable."""

    usable: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


async def find_binaries(
    names: Sequence[str],
    configured: Mapping[str, str],
    search_path: str,
    run: RunProgram,
    probe_arguments: Mapping[str, tuple[str, ...]],
) -> Binaries:
    """Look for each name: where the config says, else on `search_path` (as in PATH).

    A binary with `probe_arguments` is run once with them (`("--version",)`): one that the CPU
    cannot run dies there and not at the first load.
    """
    usable: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name in names:
        path = configured.get(name) or on_path(name, search_path)
        if path is None:
            problems[name] = "not configured and not found on the search path"
            continue
        problem = file_problem(path)
        arguments = probe_arguments.get(name)
        if problem is None and arguments is not None:
            problem = await run_problem(path, arguments, run)
        if problem is None:
            # As it was named: the Python of a virtual environment finds that by its own path.
            usable[name] = path
        else:
            problems[name] = problem
    return Binaries(usable, problems)


def on_path(name: str, search_path: str) -> str | None:
    """Return the first executable file of that name; relative folders of the path are skipped."""
    for folder in search_path.split(os.pathsep):
        candidate = Path(folder) / name
        if candidate.is_absolute() and candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    return None


def file_problem(path: str) -> str | None:
    """Say why rule R1 forbids this file, or any link on the way to it; None where it does not."""
    if not Path(path).is_absolute():
        return f"{path} is not an absolute path (rule {RULE})"
    real = Path(path).resolve()
    try:
        found = real.stat()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file (rule {RULE})"
    if not os.access(real, os.X_OK):
        return f"{path} is not executable (rule {RULE})"
    for part in (*_links(Path(path)), real, real.parent):
        problem = _owner_problem(part)
        if problem is not None:
            return problem
    return None


def _links(path: Path) -> list[Path]:
    """Return each link from a path to its file, and the folder that it lies in."""
    found: list[Path] = []
    place = path.parent.resolve() / path.name
    while place.is_symlink() and len(found) < 2 * _LINKS_MAX:
        found += [place, place.parent]
        target = place.parent / place.readlink()
        place = target.parent.resolve() / target.name
    return found


def _owner_problem(path: Path) -> str | None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) and found.st_uid in {0, os.geteuid()}:
        return None  # a link has no mode of its own; its folder says who can change it
    if found.st_uid not in {0, os.geteuid()}:
        return f"{path} belongs to user {found.st_uid}; allowed: root and this user (rule {RULE})"
    sticky = path.is_dir() and found.st_mode & stat.S_ISVTX
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        mode = stat.filemode(found.st_mode)
        return f"{path} can be written by others ({mode}); run: chmod go-w {path} (rule {RULE})"
    return None


async def run_problem(path: str, arguments: tuple[str, ...], run: RunProgram) -> str | None:
    """Run the binary once; say why it does not run here, or None."""
    try:
        status, tail = await run((path, *arguments), VERSION_S_MAX)
    except (StartError, TimedOutError) as error:
        return f"{path}: {error}"
    if status == 0:
        return None
    last = tail.strip().splitlines()[-1:] or ["no output"]
    if status == 128 + 4:
        return f"{path} was built for a CPU with instructions that this one lacks (SIGILL)"
    return f"{path} {' '.join(arguments)} ended with status {status}: {last[0][:300]}"
