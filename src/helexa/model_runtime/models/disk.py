"""Files of the model folder: reading at offsets, `.part` files, digests, free space.

A final name appears by one rename of a `.part` file that is whole, checked and flushed. Whatever
happens before that, nothing can load half a file.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from helexa.model_runtime.models import jail
from helexa.model_runtime.models.worker import Stop
from helexa.util.errors import SourceError

CHUNK_BYTES: Final = 1 << 20
SPARE_BYTES: Final = 64 << 20
"""Never filled: a machine with no free byte fails in too many other places."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FILE_MODE: Final = 0o644


class FileSource:
    """A regular file as a `ByteSource`; use it as a context."""

    def __init__(self, path: Path) -> None:
        self._handle = jail.open_file(path)
        self._size = os.fstat(self._handle).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    @property
    def size_bytes(self) -> int:
        """Size when it was opened."""
        return self._size

    def read_at(self, offset: int, count: int) -> bytes:
        """Return bytes at an offset."""
        return os.pread(self._handle, count, offset)

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole file."""
        offset = 0
        while piece := self.read_at(offset, CHUNK_BYTES):
            yield piece
            offset += len(piece)


class PartFile:
    """A file that is being written beside its final name; use it as a context.

    `resume` keeps what an earlier attempt wrote. Leaving the context closes it; what was written
    stays for the next attempt unless `discard` is called. A full disk is a SourceError (HX-0530).
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not resume or path.is_symlink():
                path.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._handle = os.open(path, flags, _FILE_MODE)
            self.size_bytes = os.lseek(self._handle, 0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        with _disk_errors(self.path):
            while view:
                count = os.write(self._handle, view)
                self.size_bytes += count
                view = view[count:]

    def restart(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self.size_bytes = 0

    def flush(self) -> None:
        """Wait until the disk has it."""
        with _disk_errors(self.path):
            os.fsync(self._handle)

    def discard(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(path.parent, None) from error
        raise SourceError(
            f"cannot write {path}: {error.strerror or error}",
            error_id="HX-0531",
            hint="Check the permissions of the model folder.",
        ) from error


def disk_full(folder: Path, needed_bytes: int | None) -> SourceError:
    """Return the error for a disk without room."""
    detail = "" if needed_bytes is None else f"; {needed_bytes:,} bytes are needed"
    return SourceError(
        f"the disk under {folder} is full{detail}",
        error_id="HX-0530",
        hint="Free some space or choose another model folder, then try again.",
    )


def publish(part: Path, final: Path) -> None:
    """Give a finished file its final name, durably. Raises SourceError."""
    with _disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        part.replace(final)
        handle = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_small(path: Path, data: bytes) -> None:
    """Replace a small file whole. Raises SourceError."""
    part = path.with_name(path.name + ".part")
    with PartFile(part) as file:
        file.write(data)
        file.flush()
    publish(part, path)


def digest(path: Path, stop: Stop, tell: Callable[[int, int], None]) -> str:
    """Return the sha256 of a file in hex; `tell(done, total)` follows in bytes."""
    total = hashlib.sha256()
    done = 0
    with FileSource(path) as source:
        for piece in source.chunks():
            stop.check()
            total.update(piece)
            done += len(piece)
            tell(done, source.size_bytes)
    return total.hexdigest()


def free_bytes(folder: Path) -> int:
    """Return how much may still be written to the disk that holds a folder."""
    return shutil.disk_usage(folder).free


def remove_folder(folder: Path) -> None:
    """Delete a folder of ours with all it holds, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files under a folder that is being written to."""
    total = 0
    for entry in folder.rglob("*"):
        with contextlib.suppress(OSError):
            state = entry.lstat()
            total += state.st_size if stat.S_ISREG(state.st_mode) else 0
    return total
