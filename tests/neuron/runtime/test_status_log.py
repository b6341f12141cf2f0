"""How many lines a load leaves in the log."""

from helexa.neuron.runtime.status_log import StatusLog
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus


def status(
    progress: float | None = None,
    because: str = "download of weights",
    state: ModelState = ModelState.LOADING,
    model_id: str = "m",
) -> ModelStatus:
    return ModelStatus(
        model_id=ModelId(model_id),
        state=state,
        config_digest="d",
        because=because,
        progress=progress,
    )


def test_a_download_leaves_a_line_for_each_tenth():
    log = StatusLog()
    lines = [n for n in range(201) if log.allows(status(n / 200), n * 0.01)]
    assert lines == list(range(0, 201, 20))


def test_a_slow_download_or_one_of_unknown_size_leaves_a_line_in_ten_seconds():
    for progress in (0.05, None):
        log = StatusLog()
        lines = [n for n in range(61) if log.allows(status(progress), n * 0.5)]
        assert lines == [0, 20, 40, 60]


def test_all_that_is_no_progress_is_told_and_models_do_not_hide_each_other():
    log = StatusLog()
    assert log.allows(status(0.1), 0.0)
    assert log.allows(status(0.1, "check of weights"), 0.0)
    assert log.allows(status(0.1, model_id="other"), 0.0)
    for state in (ModelState.LOADED, ModelState.FAILED, ModelState.FAILED):
        assert log.allows(status(state=state), 0.0)
    assert log.allows(status(0.1, "check of weights"), 0.0)
