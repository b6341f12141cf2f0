"""Loads and restarts, read off the reports of a model."""

from helexa.neuron.runtime.model_metrics import ModelMetrics
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from helexa.util.metrics import PrometheusMetrics


def after(*steps: tuple[ModelState, float]) -> str:
    metrics = PrometheusMetrics()
    told = ModelMetrics(metrics)
    for state, now in steps:
        told.told(ModelStatus(model_id=ModelId("m"), state=state, config_digest=""), now)
    return metrics.render().decode()


def test_a_load_is_timed_from_its_first_report_to_the_model_being_there() -> None:
    text = after((ModelState.LOADING, 10.0), (ModelState.LOADING, 12.0), (ModelState.LOADED, 17.0))
    assert 'helexa_model_load_duration_seconds_sum{model="m"} 7.0' in text
    assert "helexa_engine_restarts_total" not in text


def test_a_load_that_ends_otherwise_is_not_timed() -> None:
    text = after(
        (ModelState.LOADING, 10.0), (ModelState.FAILED, 11.0), (ModelState.UNLOADED, 12.0),
        (ModelState.LOADING, 90.0), (ModelState.LOADED, 91.0),
    )  # fmt: skip
    assert 'helexa_model_load_duration_seconds_sum{model="m"} 1.0' in text
    assert "helexa_engine_restarts_total" not in text


def test_each_new_start_after_a_failure_is_a_restart() -> None:
    crash = [(ModelState.FAILED, 1.0), (ModelState.LOADING, 2.0)]
    text = after((ModelState.LOADING, 0.0), *crash, *crash, (ModelState.LOADED, 9.0), *crash)
    assert 'helexa_engine_restarts_total{model="m"} 3.0' in text


def test_downloaded_bytes_are_added_up() -> None:
    metrics = PrometheusMetrics()
    told = ModelMetrics(metrics)
    told.downloaded(5)
    told.downloaded(6)
    assert "helexa_download_bytes_total 11.0" in metrics.render().decode()
