"""A disk that is full after so many bytes, under the real file operations."""

import errno
import os
from pathlib import Path

from helexa.cache.files import DiskFiles


class FullDisk(DiskFiles):
    """Writes `room_bytes`, then ENOSPC; renames only when it can."""

    def __init__(self, room_bytes: int = 0, *, can_rename: bool = True) -> None:
        self._room_bytes = room_bytes
        self._can_rename = can_rename

    def write(self, handle: int, data: bytes) -> None:
        os.write(handle, data[: self._room_bytes])
        if len(data) > self._room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def set_aside(self, path: Path, keep: int) -> Path:
        if not self._can_rename:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return super().set_aside(path, keep)
