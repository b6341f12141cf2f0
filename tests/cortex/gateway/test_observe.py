"""One line a request, and numbers that stay bounded."""

import msgspec

from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.gateway.observe import LINES_PER_SECOND, RequestObserver
from helexa.util.metrics import PrometheusMetrics
from tests.cortex.gateway.test_metering import RECORD


class Lines:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, _event: str, **fields: object) -> None:
        self.lines.append(("info", fields))

    def warning(self, _event: str, **fields: object) -> None:
        self.lines.append(("warning", fields))


def test_a_flood_is_held_back_and_errors_never_are() -> None:
    """R1.41: the rate limit never drops error records."""
    lines = Lines()
    observer = RequestObserver(PrometheusMetrics(), lines, lambda: 5.0)
    for _ in range(LINES_PER_SECOND + 50):
        observer.record(RECORD)
    assert len(lines.lines) == LINES_PER_SECOND
    failed = msgspec.structs.replace(RECORD, outcome=Outcome.UPSTREAM_ERROR, code="engine_crash")
    for _ in range(20):
        observer.record(failed)
    assert [level for level, _ in lines.lines].count("warning") == 20
    assert lines.lines[LINES_PER_SECOND][1]["lines_suppressed"] == 50


def test_requests_times_and_tokens_are_counted() -> None:
    metrics = PrometheusMetrics()
    observer = RequestObserver(metrics, Lines(), lambda: 5.0)
    for _ in range(3):
        observer.record(RECORD)
    text = metrics.render().decode()
    assert 'helexa_requests_total{code="",model="m",operation="chat",outcome="ok"} 3.0' in text
    assert 'helexa_tokens_total{model="m",type="input"} 9.0' in text
    assert "helexa_request_duration_seconds_bucket" in text
    assert "helexa_time_to_first_token_seconds_count" in text


def test_models_that_callers_invent_get_no_series() -> None:
    """S26: labels from closed sets."""
    metrics = PrometheusMetrics()
    observer = RequestObserver(metrics, Lines(), lambda: 5.0)
    for number in range(1000):
        refused = msgspec.structs.replace(
            RECORD, model=f"invented-{number}", neuron="", outcome=Outcome.CLIENT_ERROR
        )
        observer.record(refused)
    assert "invented" not in metrics.render().decode()
    assert len(observer._series) == 1
