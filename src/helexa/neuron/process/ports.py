"""Free loopback ports from the range that the neuron's config names."""

import errno
import socket

from helexa.util.errors import LimitError


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
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return a port that nobody listens on; raises LimitError when none is left."""
        for _ in range(self._last - self._first + 1):
            port = self._next
            self._next = self._first if port == self._last else port + 1
            if port not in self._taken and self._is_free(port):
                self._taken.add(port)
                return port
        raise LimitError(
            f"no free port in {self._first}-{self._last}",
            error_id="HX-2301",
            hint="widen [neuron] port_range, or stop what listens there",
        )

    def give_back(self, port: int) -> None:
        """The engine on this port is gone."""
        self._taken.discard(port)

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
