"""The path rule: weights stay inside the neuron's model folders.

    R5a  the real path lies inside a model folder, wherever links lead on the way
    R5b  it is a regular file, or a folder for an engine that takes one; never a device or FIFO
    R5c  a folder holds no link that leads out of the model folders
    R5d  the file is opened without following a link, so it cannot be swapped for one

A broken rule is a SourceError (HX-0520) that names the rule. Whether a path outside exists is not
told: the caller may be remote.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from helexa.util.errors import SourceError

FOLDER_ENTRIES_MAX: Final = 10_000


def locate(text: str, folders: Sequence[Path], *, folder_allowed: bool = False) -> Path:
    """Return the real path of a file (or folder) named relative to a model folder or absolutely.

    Raises SourceError: HX-0520 when a rule is broken, HX-0521 when nothing is there.
    """
    wanted = Path(text)
    roots = [folder.resolve() for folder in folders]
    inside_once = False
    for root in roots:
        try:
            real = (root / wanted).resolve()
        except (OSError, RuntimeError, ValueError):
            raise broken("R5a", text, "it cannot be followed") from None
        if not _is_inside(real, roots):
            continue
        inside_once = True
        try:
            state = real.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        _require_kind(text, real, state, roots, folder_allowed=folder_allowed)
        return real
    if not inside_once:
        raise broken("R5a", text, "it lies outside the model folders")
    raise SourceError(
        f"no weights at {text!r} inside the model folders",
        error_id="HX-0521",
        hint="`helexa pull` lists what is there; put the file into a model folder, or pull it.",
    )


def open_file(path: Path) -> int:
    """Open a regular file for reading without following a link; return the descriptor.

    Raises SourceError (HX-0520) when it is anything else, and OSError when it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise broken("R5d", str(path), "it is a link") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise broken("R5b", str(path), "it is not a regular file")
    return handle


def broken(rule: str, text: str, reason: str) -> SourceError:
    """Return the error for a broken rule."""
    return SourceError(
        f"weights path {text!r} is refused by rule {rule}: {reason}",
        error_id="HX-0520",
        hint="Weights must be regular files inside the neuron's model folders.",
    )


def _is_inside(real: Path, roots: Sequence[Path]) -> bool:
    return any(real != root and real.is_relative_to(root) for root in roots)


def _require_kind(
    text: str, real: Path, state: os.stat_result, roots: Sequence[Path], *, folder_allowed: bool
) -> None:
    if stat.S_ISREG(state.st_mode):
        return
    if not stat.S_ISDIR(state.st_mode):
        raise broken("R5b", text, "it is not a regular file")
    if not folder_allowed:
        raise broken("R5b", text, "it is a folder, and this engine takes a file")
    for count, entry in enumerate(real.rglob("*")):
        if count >= FOLDER_ENTRIES_MAX:
            raise broken("R5b", text, f"it holds more than {FOLDER_ENTRIES_MAX} entries")
        if entry.is_symlink() and not _is_inside(entry.resolve(), roots):
            raise broken("R5c", text, f"{entry.name!r} in it leads outside the model folders")
        if not (entry.is_file() or entry.is_dir()):
            raise broken("R5b", text, f"{entry.name!r} in it is not a regular file")
