"""When a connection is to be pinged, told a heartbeat, or given up. Pure: `now` is an argument.

Time in which this process itself did not run (stopped, suspended, blocked) is nobody's silence:
no tick counts for more than two.
"""

from dataclasses import dataclass
from typing import Final

HEARTBEAT_S_MIN: Final = 0.05
HEARTBEAT_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """Times of one connection, in seconds."""

    tick_s: float = 1.0
    ping_s: float = 5.0
    silence_s: float = 15.0
    welcome_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Due:
    """What one tick asks for."""

    give_up: str = ""
    """Why the connection is to be given up; empty when it is not."""
    ping: bool = False
    heartbeat: bool = False


class Pulse:
    """The time-keeping of one connection; `tick` is called every `tick_s`."""

    def __init__(self, times: LinkTimes, now: float) -> None:
        self._times = times
        self._ticked_at = now
        self._quiet_s = 0.0
        self._unwelcome_s = 0.0
        self._since_ping_s = 0.0
        self._since_heartbeat_s = 0.0
        self._interval_s: float | None = None
        self._pinged_at: float | None = None

    def heard(self) -> None:
        """A frame came."""
        self._quiet_s = 0.0

    def welcomed(self, interval_s: float) -> None:
        """Cortex wants a heartbeat this often; odd wishes are brought into bounds."""
        self._interval_s = min(max(interval_s, HEARTBEAT_S_MIN), HEARTBEAT_S_MAX)

    def told(self) -> None:
        """A heartbeat went out."""
        self._since_heartbeat_s = 0.0

    def ponged(self, now: float) -> float | None:
        """A pong came; return the seconds since its ping, or None for one nobody asked for."""
        pinged_at, self._pinged_at = self._pinged_at, None
        return None if pinged_at is None else now - pinged_at

    def tick(self, now: float) -> Due:
        """Return what is due now."""
        times = self._times
        elapsed_s = min(max(0.0, now - self._ticked_at), 2 * times.tick_s)
        self._ticked_at = now
        self._quiet_s += elapsed_s
        self._since_ping_s += elapsed_s
        self._since_heartbeat_s += elapsed_s
        if self._quiet_s > times.silence_s:
            return Due(give_up=f"nothing came for {times.silence_s:g} s")
        if self._interval_s is None:
            self._unwelcome_s += elapsed_s
            late = self._unwelcome_s > times.welcome_s
            return Due(give_up=f"no welcome within {times.welcome_s:g} s" if late else "")
        ping = self._since_ping_s >= times.ping_s
        if ping:
            self._since_ping_s = 0.0
            self._pinged_at = now
        # Half a tick early rather than half a tick late: cortex counts the seconds too.
        heartbeat = self._since_heartbeat_s + times.tick_s / 2 >= self._interval_s
        return Due(ping=ping, heartbeat=heartbeat)
