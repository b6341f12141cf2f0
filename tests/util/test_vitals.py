"""Which build runs, and how late its event loop is."""

import asyncio
import re

from helexa.util.clock import SystemClock
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope
from helexa.util.vitals import start_vitals, watch_lag
from tests.fakes.waiting import until


def told(metrics: PrometheusMetrics, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics.render().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_the_build_is_told_and_the_lag_is_measured() -> None:
    metrics = PrometheusMetrics()
    tasks = TaskScope(lambda *_: None)
    start_vitals(metrics, "1.2.3", SystemClock(), tasks)
    assert told(metrics, 'helexa_build_info{version="1.2.3"}') == 1.0
    await until(lambda: told(metrics, "helexa_event_loop_lag_seconds_count") >= 1, "it is measured")
    assert await tasks.close() == []


async def test_a_loop_that_is_held_up_shows_it() -> None:
    class Late:
        """A clock that says that each sleep took two seconds more than it should."""

        def __init__(self) -> None:
            self.now = 0.0

        def monotonic(self) -> float:
            self.now += 2.0
            return self.now

        def wall(self) -> float:
            return 0.0

    metrics = PrometheusMetrics()
    task = asyncio.create_task(watch_lag(metrics, Late(), interval_s=0.001))
    await until(lambda: told(metrics, "helexa_event_loop_lag_seconds_count") >= 1, "it is measured")
    task.cancel()
    await asyncio.wait({task})
    assert told(metrics, 'helexa_event_loop_lag_seconds_bucket{le="1.0"}') == 0.0
    assert told(metrics, 'helexa_event_loop_lag_seconds_bucket{le="5.0"}') >= 1.0
