"""What carries messages to and from one neuron, and the list of all of them.

A link is a websocket session or, in one process, a direct call. The rest of cortex does not know
which: it names a neuron, and is told at once when there is no link to it.
"""

from typing import Protocol

from helexa.protocol.control import CortexMessage
from helexa.protocol.ids import NeuronId
from helexa.protocol.tunnel import Stream, StreamHandler


class NeuronLink(Protocol):
    """One connection to one neuron. Nothing here blocks."""

    heard_s: float
    """Monotonic time of the last frame."""

    @property
    def epoch(self) -> int:
        """Return the epoch that the neuron registered with, 0 before that."""
        ...

    def welcome(self, cortex_id: str, heartbeat_interval_s: float) -> None:
        """Tell the neuron that its registration is accepted."""
        ...

    def send(self, message: CortexMessage) -> bool:
        """Send a control message; False if the connection is gone or cannot take more."""
        ...

    def close(self, code: int, because: str) -> None:
        """End the connection with a websocket close code; its streams are reset."""
        ...

    def open_stream(self, head: bytes, body: bytes, handler: StreamHandler) -> Stream | None:
        """Open a request stream, or None if that is not possible now."""
        ...


class Links:
    """Every connection by its number, and the one that is each neuron's current one."""

    def __init__(self) -> None:
        self._last = 0
        self._links: dict[int, NeuronLink] = {}
        self._current: dict[NeuronId, tuple[int, int]] = {}
        self._neurons: dict[int, NeuronId] = {}

    def __len__(self) -> int:
        return len(self._links)

    def add(self, link: NeuronLink) -> int:
        """Number a new connection; numbers are never used twice."""
        self._last += 1
        self._links[self._last] = link
        return self._last

    def drop(self, connection: int) -> None:
        """Forget a connection that has ended."""
        self._links.pop(connection, None)
        neuron_id = self._neurons.pop(connection, None)
        if neuron_id is not None and self.connection_of(neuron_id) == connection:
            del self._current[neuron_id]

    def accept(self, connection: int, neuron_id: NeuronId) -> NeuronLink | None:
        """Make a connection the neuron's current one; None if it has ended meanwhile."""
        link = self._links.get(connection)
        if link is not None:
            self._current[neuron_id] = (connection, link.epoch)
            self._neurons[connection] = neuron_id
        return link

    def get(self, connection: int) -> NeuronLink | None:
        """Return the link of a connection, or None once it has ended."""
        return self._links.get(connection)

    def connection_of(self, neuron_id: NeuronId) -> int | None:
        """Return the neuron's current connection, or None if it has none."""
        current = self._current.get(neuron_id)
        return current[0] if current is not None else None

    def current(self) -> list[tuple[NeuronId, int, NeuronLink]]:
        """Return every neuron with its current connection."""
        return [
            (neuron_id, number, self._links[number])
            for neuron_id, (number, _) in self._current.items()
        ]

    def all(self) -> list[tuple[int, NeuronLink]]:
        """Return every connection, those of neurons not yet accepted included."""
        return list(self._links.items())

    def open_stream(
        self, neuron_id: NeuronId, epoch: int, head: bytes, body: bytes, handler: StreamHandler
    ) -> Stream | None:
        """Open a request stream on that very process of a neuron; None if it is not there."""
        current = self._current.get(neuron_id)
        if current is None or current[1] != epoch:
            return None
        return self._links[current[0]].open_stream(head, body, handler)
