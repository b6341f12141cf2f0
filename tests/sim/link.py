"""One connection between a neuron and cortex: in order, with latency, and it can break."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.sim.clockwork import Clockwork

if TYPE_CHECKING:
    from tests.sim.neuron import SimNeuron


@dataclass
class Wire:
    """The way between a neuron and cortex, whatever connections use it."""

    latency_s: float
    slow_until: float = 0.0
    blocked_until: float = 0.0
    lossy_until: float = 0.0


class Link:
    """A websocket. Each side can hold it for open while the other knows better."""

    def __init__(self, clock: Clockwork, number: int, neuron: "SimNeuron", wire: Wire) -> None:
        self.number = number
        self.neuron = neuron
        self.epoch = neuron.epoch
        self.heard_s = clock.now
        """When cortex last heard anything."""
        self.heard_below_s = clock.now
        self.cortex_open = self.neuron_open = True
        self.registered = False
        self._clock = clock
        self._wire = wire
        self._last_up = self._last_down = 0.0
        self._closed_up: Callable[[Link, str], None] | None = None

    def on_close(self, closed: Callable[["Link", str], None]) -> None:
        """Have cortex told of the end of the connection."""
        self._closed_up = closed

    def up(self, action: Callable[..., None], *arguments: Any, control: bool = True) -> None:
        """Send something to cortex. A lost control message still shows that the peer lives."""
        if self.neuron_open:
            lost = control and self._is_lost()
            self._last_up = self._arrival(self._last_up)
            self._clock.at(self._last_up, self._arrive_up, action, arguments, lost)

    def down(self, action: Callable[..., None], *arguments: Any, control: bool = True) -> None:
        """Send something to the neuron."""
        if self.cortex_open and not (control and self._is_lost()):
            self._last_down = self._arrival(self._last_down)
            self._clock.at(self._last_down, self._arrive_down, action, arguments)

    def is_blocked(self) -> bool:
        """Tell whether nothing gets through now."""
        return self._clock.now < self._wire.blocked_until

    def cut(self, because: str = "closed") -> None:
        """Both sides see the end now."""
        self._end_below()
        self._end_above(because)

    def close_above(self, because: str) -> None:
        """Cortex closes; the neuron sees it when that arrives."""
        if self.cortex_open:
            self._last_down = self._arrival(self._last_down)
            self._clock.at(self._last_down, self._end_below)
            self._end_above(because)

    def close_below(self, because: str) -> None:
        """The neuron closes; cortex sees it when that arrives."""
        if self.neuron_open:
            self._last_up = self._arrival(self._last_up)
            self._clock.at(self._last_up, self._end_above, because)
            self._end_below()

    def _is_lost(self) -> bool:
        lossy = self._clock.now < self._wire.lossy_until
        return lossy and self._clock.random.random() < 0.4

    def _arrival(self, last: float) -> float:
        clock, wire = self._clock, self._wire
        latency_s = wire.latency_s * (0.5 + clock.random.random())
        if clock.now < wire.slow_until:
            latency_s *= 10
        return max(clock.now + latency_s, wire.blocked_until + latency_s, last)

    def _arrive_up(
        self, action: Callable[..., None], arguments: tuple[Any, ...], lost: bool
    ) -> None:
        if self.cortex_open:
            self.heard_s = self._clock.now
            if not lost:
                action(*arguments)

    def _arrive_down(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self.neuron_open:
            self.heard_below_s = self._clock.now
            action(*arguments)

    def _end_above(self, because: str) -> None:
        if self.cortex_open:
            self.cortex_open = False
            if self._closed_up is not None:
                self._closed_up(self, because)

    def _end_below(self) -> None:
        if self.neuron_open:
            self.neuron_open = False
            self.neuron.link_ended(self)
