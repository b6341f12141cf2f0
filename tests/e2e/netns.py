"""A network of its own for one neuron, with a cable that can be pulled."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

NETWORK = "10.203"
"""Addresses of the cables: one /30 for each process of tests."""


class NotPermittedError(Exception):
    """Network namespaces cannot be made here; the text says why."""


@dataclass(frozen=True)
class Cable:
    """`near` is our end's address, `far` the namespace's; `prefix` runs a command in there."""

    namespace: str
    device: str
    near: str
    far: str

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace]

    def pull(self) -> None:
        """From now on nothing passes, and nobody is told."""
        _ip("link", "set", self.device, "down")

    def plug(self) -> None:
        _ip("link", "set", self.device, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermittedError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Make a namespace with a loopback and a cable to it. Raises NotPermittedError."""
    if os.geteuid() != 0:
        raise NotPermittedError("network namespaces need root")
    if shutil.which("ip") is None:
        raise NotPermittedError("there is no `ip` command (package iproute2)")
    number = os.getpid() % 16_000
    block = f"{NETWORK}.{number // 64}.{number % 64 * 4}"
    base, _, last = block.rpartition(".")
    made = Cable(
        f"hx{number}", f"hxa{number}", f"{base}.{int(last) + 1}", f"{base}.{int(last) + 2}"
    )
    inner = f"hxb{number}"
    _ip("netns", "add", made.namespace)
    try:
        _ip("link", "add", made.device, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", made.namespace)
        _ip("addr", "add", f"{made.near}/30", "dev", made.device)
        _ip("link", "set", made.device, "up")
        inside = ("-n", made.namespace)
        _ip(*inside, "addr", "add", f"{made.far}/30", "dev", inner)
        _ip(*inside, "link", "set", inner, "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        with contextlib.suppress(NotPermittedError):
            _ip("link", "del", made.device)
        with contextlib.suppress(NotPermittedError):
            _ip("netns", "del", made.namespace)
