"""Free loopback ports from the range that the neuron's config names.

Neurons on one machine may have the same range. Between the moment a port is chosen and the moment
its engine listens, nothing shows that it is taken; so each port that is handed out is locked. The
lock is a name in Linux's abstract socket namespace: ports and these names have the same scope (a
network namespace), any user can take one, and the kernel frees it with the process, however that
ends.
"""

import errno
import socket
from typing import Final

from helexa.util.errors import LimitError

LOCK_NAME: Final = "\0helexa-engine-port-{host}-{port}"


class PortPool:
    """Hands out ports of `first`..`last`, each to one engine at a time, in turn.

    The turn goes on behind the last one given, so that a late client of a dead engine does not
    reach its successor.
    """

    def __init__(self, first: int, last: int, host: str = "127.0.0.1") -> None:
        if not 1 <= first <= last <= 65535:
            raise ValueError(f"ports {first}-{last}: allowed are 1 to 65535, in rising order")
        self._first = first
        self._last = last
        self._host = host
        self._next = first
        self._taken: dict[int, socket.socket] = {}
        """The lock of each port that is handed out."""

    def take(self) -> int:
        """Return a port that nobody has or listens on; raises LimitError when none is left."""
        for _ in range(self._last - self._first + 1):
            port = self._next
            self._next = self._first if port == self._last else port + 1
            if port in self._taken or not self._is_free(port):
                continue
            lock = self._lock(port)
            if lock is not None:
                self._taken[port] = lock
                return port
        raise LimitError(
            f"no free port in {self._first}-{self._last}",
            error_id="HX-2301",
            hint="widen [engines] port_first to port_last, or stop what listens there",
        )

    def give_back(self, port: int) -> None:
        """The engine on this port is gone."""
        lock = self._taken.pop(port, None)
        if lock is not None:
            lock.close()

    def _lock(self, port: int) -> socket.socket | None:
        """Return the lock of a port, or None where another neuron has it."""
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(LOCK_NAME.format(host=self._host, port=port))
        except OSError as error:
            lock.close()
            if error.errno == errno.EADDRINUSE:
                return None
            raise
        return lock

    def _is_free(self, port: int) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As an engine would: a connection of an earlier listener in TIME_WAIT is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, port))
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    return False
                raise
        return True
