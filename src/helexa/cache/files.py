"""The file operations under `json_store`, and nothing else: the port and the real thing.

A file is replaced whole or not at all: the new content goes to a private temporary file in the same
folder, is flushed to the disk, takes the old name by one rename, and the folder is flushed too. A
crash or a full disk at any point leaves the old file as it was.
"""

import contextlib
import os
from pathlib import Path
from typing import Protocol

from helexa.util.regular_files import read_regular

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class StateFiles(Protocol):
    """What `JsonStore` does to the disk; everything raises OSError."""

    def read(self, path: Path, limit_bytes: int) -> bytes:
        """Return the content of a regular file; EFBIG when it is larger than `limit_bytes`."""
        ...

    def replace(self, path: Path, data: bytes) -> None:
        """Make `path` hold exactly `data`, durably, or leave it as it was."""
        ...

    def set_aside(self, path: Path, keep: int) -> Path:
        """Rename `path` to NAME.corrupt-N, keep the newest `keep` of those, return the new path."""
        ...


class DiskFiles:
    """`StateFiles` on a real file system."""

    def read(self, path: Path, limit_bytes: int) -> bytes:
        """Return the content of a regular file; a link, a FIFO or a folder is EINVAL."""
        return read_regular(path, limit_bytes)

    def replace(self, path: Path, data: bytes) -> None:
        """Write a temporary file beside it, flush, rename, flush the folder."""
        make_private_folder(path.parent)
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(temporary, flags, PRIVATE_FILE)
        try:
            try:
                self.write(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)

    def write(self, handle: int, data: bytes) -> None:
        """Write all of `data` to an open file."""
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def set_aside(self, path: Path, keep: int) -> Path:
        """Rename, and delete the oldest of those set aside before."""
        prefix = path.name + ".corrupt-"
        taken = sorted(
            (int(entry.name[len(prefix) :]), entry)
            for entry in path.parent.iterdir()
            if entry.name.startswith(prefix) and entry.name[len(prefix) :].isdecimal()
        )
        target = path.with_name(f"{prefix}{taken[-1][0] + 1 if taken else 1}")
        path.rename(target)
        for _, entry in taken[: max(0, len(taken) + 1 - keep)]:
            with contextlib.suppress(OSError):
                entry.unlink()
        flush_folder(path.parent)
        return target


def make_private_folder(folder: Path) -> None:
    """Create a folder and what is missing above it, readable by its owner only.

    What exists already is left as it is. Raises OSError.
    """
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for level in reversed(missing):
        level.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def flush_folder(folder: Path) -> None:
    """Make renames inside a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
