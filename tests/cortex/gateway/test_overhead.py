"""What the gateway adds, by stage; the clock is a script."""

import itertools

from helexa.cortex.gateway.overhead import SAMPLE_EVERY, Overhead
from helexa.util.metrics import PrometheusMetrics
from tests.cortex.gateway.test_metering import RECORD
from tests.cortex.gateway.test_observe import Lines, RequestObserver
from tests.fakes.gateway import World


def told(metrics: PrometheusMetrics, stage: str) -> tuple[float, float]:
    """Return how many were timed, and the sum of their seconds."""
    found = {}
    for line in metrics.render().decode().splitlines():
        for end in ("count", "sum"):
            if line.startswith(f'helexa_overhead_seconds_{end}{{stage="{stage}"}}'):
                found[end] = float(line.split()[1])
    return found["count"], round(found["sum"], 6)


def test_a_request_that_is_sent_is_timed_from_its_body_and_from_its_dispatch() -> None:
    metrics, world = PrometheusMetrics(), World("n1")
    exchange, _ = world.ask(stream=True)
    relay = world.pipeline.newest
    assert relay is not None
    relay.heard_s = relay.started_s + 0.25
    Overhead(metrics, lambda: 0.0).handled(relay.started_s - 0.5, exchange, relay)
    assert told(metrics, "parse") == (1, 0.5)
    assert told(metrics, "dispatch") == (1, 0.25)


def test_a_request_that_was_refused_or_is_held_is_not_timed() -> None:
    metrics, world = PrometheusMetrics(), World("n1")
    overhead = Overhead(metrics, lambda: 0.0)
    refused, _ = world.send(b"{")
    overhead.handled(0.0, refused, world.pipeline.newest)
    held, _ = world.ask()
    overhead.handled(0.0, refused, world.pipeline.newest)
    relay = world.pipeline.newest
    assert relay is not None
    relay.stream = None
    overhead.handled(0.0, held, relay)
    assert told(metrics, "parse") == told(metrics, "dispatch") == (0, 0.0)


def test_the_judging_of_a_head_and_the_end_of_a_request_are_timed() -> None:
    metrics = PrometheusMetrics()
    overhead = Overhead(metrics, lambda: 10.0)
    overhead.admitted(9.5)
    overhead.settled(9.25)
    assert told(metrics, "admission") == (1, 0.5)
    assert told(metrics, "settle") == (1, 0.75)


def test_one_end_of_a_request_in_64_is_timed_and_all_are_counted() -> None:
    metrics = PrometheusMetrics()
    ticks = itertools.count()
    observer = RequestObserver(metrics, Lines(), lambda: float(next(ticks)))
    for _ in range(3 * SAMPLE_EVERY):
        observer.record(RECORD)
    # The record that is timed counts as the first of the next round.
    timed, _ = told(metrics, "settle")
    assert timed == 3
    assert f'outcome="ok"}} {3 * SAMPLE_EVERY}.0' in metrics.render().decode()
