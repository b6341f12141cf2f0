"""Metrics cost nothing where nobody asks, and stay bounded where somebody does."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from helexa.util.metrics import LATENCY_S, SERIES_MAX, Metrics, NoMetrics, PrometheusMetrics


@pytest.mark.parametrize("metrics", [NoMetrics(), PrometheusMetrics()])
def test_code_runs_unchanged_with_and_without_a_backend(metrics: Metrics) -> None:
    """R0.10, R0.11: counter, gauge and histogram; the no-op has the same interface."""
    metrics.counter("helexa_a_total", "A.", model="m").inc()
    metrics.gauge("helexa_b", "B.").set(2)
    metrics.histogram("helexa_c_seconds", "C.", LATENCY_S, model="m").observe(0.1)
    assert isinstance(metrics.render(), bytes)


def test_what_was_counted_is_told_in_prometheus_text() -> None:
    """R1.42: Prometheus text."""
    metrics = PrometheusMetrics()
    metrics.counter("helexa_a_total", "A.", model="m").inc(3)
    metrics.counter("helexa_a_total", "A.", model="m").inc()
    metrics.histogram("helexa_c_seconds", "C.", (0.1, 1)).observe(0.5)
    text = metrics.render().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["helexa_a"].samples[0].value == 4
    assert 'helexa_c_seconds_bucket{le="1.0"} 1.0' in text


def test_what_is_counted_late_is_counted_before_anybody_reads() -> None:
    metrics = PrometheusMetrics()
    cell = metrics.counter("helexa_a_total", "A.")
    metrics.before_render(cell.inc)
    NoMetrics().before_render(cell.inc)
    for count in (1, 2):
        assert f"helexa_a_total {count}.0" in metrics.render().decode()


def test_label_sets_are_bounded() -> None:
    """S26: what a caller invents cannot grow the registry."""
    metrics = PrometheusMetrics()
    for number in range(SERIES_MAX * 3):
        metrics.counter("helexa_a_total", "A.", model=f"m{number}").inc()
    text = metrics.render().decode()
    assert text.count("helexa_a_total{") == SERIES_MAX + 1
    assert 'model="other"} ' + str(float(SERIES_MAX * 2)) in text


def test_two_registries_know_nothing_of_each_other() -> None:
    first, second = PrometheusMetrics(), PrometheusMetrics()
    first.counter("helexa_a_total", "A.").inc()
    assert b"helexa_a_total" not in second.render()


def test_gauges_are_brought_up_to_date_when_somebody_asks() -> None:
    metrics = PrometheusMetrics()
    asked = metrics.counter("helexa_asked_total", "Asked.")
    metrics.before_render(asked.inc)
    metrics.render()
    assert "helexa_asked_total 2.0" in metrics.render().decode()
    NoMetrics().before_render(asked.inc)


def test_series_of_what_is_gone_can_be_forgotten() -> None:
    metrics = PrometheusMetrics()
    for name in ("a", "b"):
        metrics.gauge("helexa_b", "B.", model=name).set(1)
    metrics.clear("helexa_b", "helexa_never_told")
    metrics.gauge("helexa_b", "B.", model="b").set(2)
    text = metrics.render().decode()
    assert 'helexa_b{model="a"}' not in text
    assert 'helexa_b{model="b"} 2.0' in text
    NoMetrics().clear("helexa_b")


def test_a_counter_that_somebody_else_counts_is_set() -> None:
    metrics = PrometheusMetrics()
    metrics.counter("helexa_a_total", "A.", name="a label may be called name").set(7)
    assert "} 7.0" in metrics.render().decode()
