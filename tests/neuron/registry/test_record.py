"""One record: it cannot contradict itself, nor step past the lifecycle."""

import pytest

from helexa.neuron.registry.commands import ReportStatus
from helexa.neuron.registry.record import TEXT_CHARS_MAX, ModelRecord, Phase, Turn
from helexa.protocol.lifecycle import IllegalStepError, ModelState
from tests.fakes.registry import config


def record(**fields) -> ModelRecord:
    return ModelRecord(config=config(), about=config(), **fields)


def test_an_illegal_step_is_a_bug_and_raises():
    with pytest.raises(IllegalStepError):
        record().enter(ModelState.LOADED, Phase.SERVING)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": ModelState.UNLOADED, "phase": Phase.SERVING},
        {"state": ModelState.LOADING, "phase": Phase.STARTING},
        {"state": ModelState.LOADING, "phase": Phase.FETCHING},
        {"state": ModelState.LOADED, "phase": Phase.SERVING, "engine_attempt": 1},
        {"engine_attempt": 1},
    ],
)
def test_contradictions_are_found(fields):
    with pytest.raises(AssertionError):
        record(**fields).check()


def test_a_record_at_rest_is_sound_and_holds_no_memory():
    fresh = record()
    fresh.check()
    assert (fresh.held_bytes, fresh.deadline, fresh.running) == (0, None, None)


def test_a_retry_is_told_only_while_the_model_is_wanted():
    failed = record(state=ModelState.FAILED, retry_at=15.0)
    assert failed.status(10.0).retry_after_s is None
    assert failed.deadline is None
    failed.wanted = True
    assert failed.status(10.0).retry_after_s == 5.0
    assert failed.status(20.0).retry_after_s == 0.0
    assert failed.deadline == 15.0


def test_the_config_travels_only_when_asked_for():
    assert record().status(0.0).config is None
    assert record().status(0.0, with_config=True).config == config()


def test_a_changed_config_is_stale_and_new_aliases_are_not():
    changed = record()
    changed.config = config(seats=3)
    assert changed.stale
    renamed = ModelRecord(config=config(), about=config())
    assert not renamed.stale


def test_a_reason_is_cut():
    one = record()
    one.enter(ModelState.FAILED, Phase.IDLE, "x" * 5000)
    assert len(one.because) == TEXT_CHARS_MAX


def test_a_turn_reports_with_its_cause():
    turn = Turn(3.0, "why")
    turn.report(record())
    (command,) = turn.commands
    assert isinstance(command, ReportStatus)
    assert command.cause == "why"
