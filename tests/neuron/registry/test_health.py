"""Health, told from what went wrong lately."""

from helexa.neuron.registry.health import (
    FAILURES_MAX,
    PACE_S_MIN,
    PACE_TOKENS_MIN,
    HealthLog,
    writing_pace,
)
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import Usage

M = ModelId("m")


def test_failures_count_inside_their_window_only():
    """R2.21."""
    log = HealthLog(window_s=10.0)
    log.request_ended(0.0, 5.0, failed=True)
    log.request_ended(5.0, 5.0, failed=False)
    log.spawn_failed(M, 8.0)
    assert log.read(9.0).recent_failures == 2
    assert log.read(10.0).recent_failures == 1
    assert log.read(18.0).recent_failures == 0


def test_failed_spawns_count_until_one_succeeds():
    """R2.24."""
    log = HealthLog()
    log.spawn_failed(M, 0.0)
    log.spawn_failed(M, 1.0)
    assert log.read(2.0).failed_spawns == {M: 2}
    log.spawned(M)
    assert log.read(2.0).failed_spawns == {}


def test_failed_applies_count_until_one_succeeds():
    """R2.24."""
    log = HealthLog()
    log.apply_failed(M)
    assert log.read(0.0).failed_applies == {M: 1}
    log.applied(M)
    assert log.read(0.0).failed_applies == {}


def test_a_forgotten_model_leaves_nothing():
    log = HealthLog()
    log.spawn_failed(M, 0.0)
    log.apply_failed(M)
    log.forget(M)
    found = log.read(0.0)
    assert (found.failed_spawns, found.failed_applies) == ({}, {})


def test_latency_is_a_moving_average():
    """R2.23."""
    log = HealthLog()
    assert log.read(0.0).latency_ms_average is None
    log.request_ended(0.0, 100.0, failed=False)
    assert log.read(0.0).latency_ms_average == 100.0
    log.request_ended(0.0, None, failed=False)
    log.request_ended(0.0, 200.0, failed=False)
    assert log.read(0.0).latency_ms_average == 110.0
    for _ in range(200):
        log.request_ended(0.0, 200.0, failed=False)
    assert abs(log.read(0.0).latency_ms_average - 200.0) < 0.1


def test_pace_is_a_moving_average_for_each_model_until_its_next_engine():
    """R2.8: throughput as measured."""
    log = HealthLog()
    log.request_ended(0.0, 1.0, failed=False, model_id="m", tokens_per_second=100.0)
    log.request_ended(0.0, 1.0, failed=False, model_id="m", tokens_per_second=None)
    log.request_ended(0.0, 1.0, failed=False, model_id="m", tokens_per_second=200.0)
    log.request_ended(0.0, 1.0, failed=False, model_id="x", tokens_per_second=10.0)
    assert (log.pace_of(M), log.pace_of(ModelId("x"))) == (110.0, 10.0)
    assert log.read(0.0).tokens_per_second_average == 100.0
    log.spawned(M)
    log.forget(ModelId("x"))
    assert (log.pace_of(M), log.pace_of(ModelId("x"))) == (None, None)


def test_too_short_an_answer_tells_nothing_of_the_pace():
    def wrote(tokens: int) -> Usage:
        return Usage(prompt_tokens=1, completion_tokens=tokens)

    assert writing_pace(wrote(21), 500.0, 1.5) == 20.0
    assert writing_pace(wrote(PACE_TOKENS_MIN - 1), 500.0, 1.5) is None
    assert writing_pace(wrote(100), 500.0, 0.5 + PACE_S_MIN / 2) is None
    assert writing_pace(wrote(100), None, 1.5) is None
    assert writing_pace(None, 500.0, 1.5) is None


def test_memory_of_failures_is_bounded():
    log = HealthLog()
    for _ in range(FAILURES_MAX * 2):
        log.request_ended(0.0, None, failed=True)
    assert log.read(0.0).recent_failures == FAILURES_MAX


def test_problems_are_passed_on():
    assert HealthLog().read(0.0, ("disk full",)).problems == ("disk full",)
