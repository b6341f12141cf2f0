"""One line a request, and numbers that stay bounded."""

import msgspec

from helexa.cortex.gateway.metering import Outcome
from helexa.cortex.gateway.observe import LINES_PER_SECOND, LoadGauges, RequestObserver, RouteCounts
from helexa.cortex.orchestrator.requests import RoutingDecision
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.scheduler import route
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.errors import ErrorCode
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Trailer, Usage
from helexa.util.metrics import PrometheusMetrics
from tests.cortex.gateway.test_metering import RECORD
from tests.fakes.fleet import CHAT
from tests.fakes.routing import idle, replica, request, snapshot


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


def test_a_callers_mistake_is_a_warning_that_ordinary_lines_do_not_hide() -> None:
    """Lesson 3: a rejected body leaves one line. A flood of them is bounded, too."""
    lines = Lines()
    observer = RequestObserver(PrometheusMetrics(), lines, lambda: 5.0)
    for _ in range(LINES_PER_SECOND + 1):
        observer.record(RECORD)
    wrong = msgspec.structs.replace(RECORD, outcome=Outcome.CLIENT_ERROR, code="malformed_json")
    for _ in range(LINES_PER_SECOND + 1):
        observer.record(wrong)
    warnings = [fields for level, fields in lines.lines if level == "warning"]
    assert len(warnings) == LINES_PER_SECOND
    assert warnings[0]["code"] == "malformed_json"


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


def test_cached_input_and_reasoning_are_told_beside_the_rest_and_not_twice() -> None:
    metrics = PrometheusMetrics()
    usage = Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=7, reasoning_tokens=2)
    trailer = Trailer(usage=usage, first_token_ms=100.0, duration_ms=500.0)
    record = msgspec.structs.replace(RECORD, trailer=trailer, stream=False)
    RequestObserver(metrics, Lines(), lambda: 5.0).record(record)
    text = metrics.render().decode()
    for kind, count in (("input", 3), ("cached_input", 7), ("output", 3), ("reasoning", 2)):
        assert f'helexa_tokens_total{{model="m",type="{kind}"}} {count}.0' in text
    assert 'helexa_time_per_output_token_seconds_sum{model="m"} 0.1' in text


def test_callers_that_leave_are_counted_by_how_far_their_request_had_come() -> None:
    metrics = PrometheusMetrics()
    observer = RequestObserver(metrics, Lines(), lambda: 5.0)
    left = msgspec.structs.replace(RECORD, outcome=Outcome.CANCELLED, trailer=None)
    observer.record(left)
    observer.record(msgspec.structs.replace(left, first_byte_ms=None))
    observer.record(msgspec.structs.replace(left, first_byte_ms=None, neuron=""))
    text = metrics.render().decode()
    for phase in ("decode", "prefill", "queue"):
        assert f'helexa_client_disconnects_total{{phase="{phase}"}} 1.0' in text


def test_what_is_worked_on_is_told_by_model_and_falls_back_to_0() -> None:
    metrics = PrometheusMetrics()
    gauges = LoadGauges(metrics)
    gauges.update({ModelId("m"): 3}, held=2, queued=5, streams=1)
    text = metrics.render().decode()
    assert 'helexa_requests_inflight{model="m"} 3.0' in text
    assert "helexa_requests_held 2.0" in text
    assert "helexa_requests_queued 5.0" in text
    assert "helexa_streams_open 1.0" in text
    gauges.update({}, held=0, queued=0, streams=0)
    assert 'helexa_requests_inflight{model="m"} 0.0' in metrics.render().decode()


def test_reasons_of_routes_are_counted_by_model() -> None:
    metrics, memory = PrometheusMetrics(), RoutingMemory()
    RouteCounts(metrics, memory)
    decision = route(request(), snapshot(replica("a")), idle)
    assert isinstance(decision, RoutingDecision)
    memory.ended(request(), decision, None)
    for _ in range(2):
        text = metrics.render().decode()
        assert 'helexa_route_decisions_total{model="m",reason="only"} 1.0' in text


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


def test_attempts_that_a_neuron_failed_are_counted_whether_or_not_another_one_helped() -> None:
    metrics = PrometheusMetrics()
    observer = RequestObserver(metrics, Lines(), lambda: 5.0)
    replica = Replica(model_id=ModelId("m"), neuron_id=NeuronId("n1"), epoch=1, capability=CHAT)
    observer.retried(replica, ErrorCode.ENGINE_CRASH)
    observer.retried(replica, ErrorCode.RATE_LIMIT_EXCEEDED)  # it was full, which is no error
    failed = msgspec.structs.replace(
        RECORD, neuron="n2", outcome=Outcome.UPSTREAM_ERROR, code="engine_garbage", trailer=None
    )
    observer.record(failed)
    observer.record(msgspec.structs.replace(failed, code=""))  # an answer with a 5xx
    observer.record(msgspec.structs.replace(failed, outcome=Outcome.TIMEOUT, code="t"))
    observer.record(msgspec.structs.replace(failed, neuron=""))  # it was nobody's
    observer.record(msgspec.structs.replace(failed, outcome=Outcome.REJECTED))
    told = {line for line in metrics.render().decode().splitlines() if line[:1] != "#"}
    assert 'helexa_retries_total{model="m",reason="engine_crash"} 1.0' in told
    assert 'helexa_retries_total{model="m",reason="rate_limit_exceeded"} 1.0' in told
    assert {line for line in told if line.startswith("helexa_upstream")} == {
        'helexa_upstream_errors_total{kind="engine_crash",neuron="n1"} 1.0',
        'helexa_upstream_errors_total{kind="engine_garbage",neuron="n2"} 1.0',
        'helexa_upstream_errors_total{kind="error_status",neuron="n2"} 1.0',
        'helexa_upstream_errors_total{kind="t",neuron="n2"} 1.0',
    }
