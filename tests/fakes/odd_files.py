"""What may lie where a plain file should: each would hold up, mislead or never end a reader."""

import os
import socket
from collections.abc import Callable
from pathlib import Path


def _listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "link to a device": _link,
    "socket": _listen,
    "folder": Path.mkdir,
}
