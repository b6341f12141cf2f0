"""Opens files that must be plain files, at once: a FIFO, device, socket or folder is an error.

Opening a FIFO waits for its other end, and reading a device need not end. Who can put one in the
place of a state file would so hold up a process for good, without an error.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

NOT_REGULAR: Final = "not a regular file"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


def read_regular(path: Path, limit_bytes: int, *, follow: bool = False) -> bytes:
    """Return the content of a regular file.

    OSError: EINVAL for what is none, EFBIG beyond `limit_bytes`, ELOOP for a link unless `follow`.
    """
    with os.fdopen(_open(path, _READ if follow else _READ | os.O_NOFOLLOW), "rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", str(path))
    return data


def open_lock_file(path: Path) -> int:
    """Return a descriptor of a lock file, made (0600) where there is none; OSError as above."""
    return _open(path, _LOCK)


def _open(path: Path, flags: int) -> int:
    handle = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return handle
