"""What every process tells of itself: which build it is, and whether its event loop keeps up.

A loop that is late is late for everybody: heartbeats, timeouts and all streams share it.
"""

import asyncio
from typing import Final

from helexa.util.clock import Clock
from helexa.util.metrics import Metrics
from helexa.util.tasks import TaskScope

INTERVAL_S: Final = 0.25
LAG_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


def start_vitals(metrics: Metrics, version: str, clock: Clock, tasks: TaskScope) -> None:
    """Tell the build, and measure the loop's lag for as long as `tasks` is open."""
    metrics.gauge("helexa_build_info", "Always 1", version=version).set(1.0)
    tasks.start(watch_lag(metrics, clock), "event loop lag")


async def watch_lag(metrics: Metrics, clock: Clock, interval_s: float = INTERVAL_S) -> None:
    """Sleep again and again; what a sleep takes beyond its time is the lag."""
    lag = metrics.histogram(
        "helexa_event_loop_lag_seconds", "How late the event loop runs what is due", LAG_S
    )
    while True:
        due_s = clock.monotonic() + interval_s
        await asyncio.sleep(interval_s)
        lag.observe(max(clock.monotonic() - due_s, 0.0))
