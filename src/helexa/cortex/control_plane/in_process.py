"""A neuron in this very process: the same link, carried by calls instead of a websocket.

It drives anything that is a `NeuronControl`. The harness of the tests uses it, and it shows that
nothing above the link knows what carries it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from helexa.cortex.control_plane.inbound import event_of
from helexa.cortex.control_plane.links import Links
from helexa.cortex.orchestrator.events import Event, NeuronGone, NeuronRegistered
from helexa.protocol.control import CortexMessage, NeuronMessage, Provisioning, Register
from helexa.protocol.ports import NeuronControl
from helexa.protocol.tunnel import Stream, StreamHandler, Tunnel
from helexa.util.tasks import TaskScope


class InProcessLink:
    """One neuron's connection without a wire.

    `tunnel` opens request streams, where the neuron side pumps one; None for a neuron that only
    takes provisioning. Commands run as tasks of `tasks`, one after the other as they come.
    """

    def __init__(
        self,
        links: Links,
        report: Callable[[Event], None],
        control: NeuronControl,
        tasks: TaskScope,
        *,
        monotonic: Callable[[], float],
        tunnel: Tunnel | None = None,
    ) -> None:
        self._links = links
        self._report = report
        self._control = control
        self._tasks = tasks
        self._monotonic = monotonic
        self._tunnel = tunnel
        self._register: Register | None = None
        self.connection = links.add(self)
        self.heard_s = monotonic()
        self.welcomed = False
        self.closed: tuple[int, str] | None = None
        self.received: deque[CortexMessage] = deque(maxlen=16)

    @property
    def epoch(self) -> int:
        """Return the epoch it registered with, 0 before that."""
        return self._register.neuron.epoch if self._register is not None else 0

    def register(self, message: Register) -> None:
        """Register the neuron, as its first frame would."""
        self._register = message
        self._report(NeuronRegistered(self.connection, message))

    def say(self, message: NeuronMessage) -> None:
        """Take a message of the neuron, as a frame of it would be taken."""
        self.heard_s = self._monotonic()
        if self._register is not None and self.closed is None:
            event = event_of(self._register.neuron.id, self.connection, message)
            if event is not None:
                self._report(event)

    def welcome(self, cortex_id: str, heartbeat_interval_s: float) -> None:
        """Note that the registration is accepted."""
        self.welcomed = True

    def send(self, message: CortexMessage) -> bool:
        """Carry a command out on the neuron; its answer comes back as an event."""
        if self.closed is not None:
            return False
        if isinstance(message, Provisioning):
            self._tasks.start(self._provision(message), f"provision {message.command_id}")
        else:
            self.received.append(message)
        return True

    def open_stream(self, head: bytes, body: bytes, handler: StreamHandler) -> Stream | None:
        """Open a request stream on the neuron's tunnel, if it has one."""
        if self._tunnel is None or self.closed is not None:
            return None
        return self._tunnel.open(head, body, handler)

    def close(self, code: int, because: str) -> None:
        """End the connection."""
        if self.closed is not None:
            return
        self.closed = (code, because)
        self._links.drop(self.connection)
        if self._register is not None:
            self._report(NeuronGone(self._register.neuron.id, self.connection, because))

    async def _provision(self, message: Provisioning) -> None:
        answer: Any = await self._control.provision(
            message.command_id, message.command, message.cause
        )
        self.say(answer)
