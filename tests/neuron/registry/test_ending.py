"""How an engine ends: drained, stopped, failed, crashed, in a loop."""

import pytest

from helexa.neuron.registry import commands as c
from helexa.neuron.registry import events as e
from helexa.neuron.registry.limits import Limits
from helexa.protocol.errors import ErrorCode
from helexa.protocol.lifecycle import ModelState
from tests.fakes.engines import GIB
from tests.fakes.registry import M, Script, answer, config, none_of, only


def test_an_unload_waits_for_running_requests_then_stops():
    """R2.18."""
    script = Script()
    attempt = script.bring_up()
    found = script.unload()
    drain = only(found, c.DrainSeats)
    assert (drain.attempt, drain.refusal.code) == (attempt, ErrorCode.SHUTTING_DOWN)
    assert none_of(found, c.StopEngine)
    assert script.status().state is ModelState.UNLOADING
    stop = only(script.send(e.Drained(model_id=M, attempt=attempt)), c.StopEngine)
    assert stop.grace_s == script.limits.stop_grace_s
    script.exited(attempt)
    assert script.status().state is ModelState.UNLOADED


def test_a_drain_is_bounded():
    script = Script()
    attempt = script.bring_up()
    armed = only(script.unload(), c.ArmTimer)
    assert armed.at == script.now + script.limits.drain_s
    found = script.tick(script.limits.drain_s)
    assert only(found, c.StopEngine).attempt == attempt
    assert only(found, c.CloseSeats)


@pytest.mark.parametrize(("asked_s", "allowed_s"), [(600.0, 600.0), (1e9, 3600.0), (-1.0, 0.0)])
def test_an_unload_may_say_how_long_requests_may_take_within_bounds(
    asked_s: float, allowed_s: float
) -> None:
    script = Script()
    script.bring_up()
    armed = only(script.unload(drain_s=asked_s), c.ArmTimer)
    assert armed.at == script.now + allowed_s


def test_an_unload_is_idempotent():
    script = Script()
    script.bring_up()
    script.unload()
    again = script.unload()
    assert answer(again).accepted
    assert none_of(again, c.DrainSeats, c.StopEngine, c.ReportStatus)


def test_an_unload_while_fetching_needs_no_stop():
    script = Script()
    script.upsert()
    script.load()
    found = script.unload()
    assert only(found, c.CancelFetch)
    assert none_of(found, c.StopEngine)
    assert script.status().state is ModelState.UNLOADED


@pytest.mark.parametrize("spawned", [False, True])
def test_an_unload_while_starting_kills_what_was_started(spawned):
    script = Script()
    script.upsert()
    starting = script.fetched(script.load())
    if spawned:
        script.spawned(starting)
    stop = only(script.unload(), c.StopEngine)
    assert script.status().state is ModelState.UNLOADING
    script.exited(stop.attempt)
    assert script.status().state is ModelState.UNLOADED


def test_a_load_during_an_unload_begins_when_the_old_engine_is_gone():
    script = Script()
    attempt = script.bring_up()
    script.unload()
    found = script.load()
    assert answer(found).accepted
    assert none_of(found, c.FetchWeights)
    script.send(e.Drained(model_id=M, attempt=attempt))
    assert only(script.exited(attempt), c.FetchWeights)


def test_a_crash_closes_the_seats_at_once_and_is_followed_by_a_start():
    """F05: those that wait are told; the engine comes back after a pause."""
    script = Script()
    attempt = script.bring_up()
    found = script.exited(attempt, "killed by SIGKILL")
    assert only(found, c.CloseSeats).refusal.code is ErrorCode.SERVICE_UNAVAILABLE
    status = only(found, c.ReportStatus).status
    assert (status.state, status.because) == (ModelState.FAILED, "killed by SIGKILL")
    assert script.state.log_tail("m") == ("last words",)
    assert status.retry_after_s is not None
    assert 0.5 <= status.retry_after_s <= 1.0
    script.go_on(script.tick(status.retry_after_s))
    assert script.status().state is ModelState.LOADED


def test_a_crash_while_draining_ends_the_unload():
    script = Script()
    attempt = script.bring_up()
    script.unload()
    found = script.exited(attempt)
    assert only(found, c.CloseSeats)
    assert script.status().state is ModelState.UNLOADED
    assert none_of(script.tick(1000.0), c.FetchWeights, c.StopEngine)


def test_an_engine_that_fails_its_probe_is_killed_and_tried_again_only_after_its_end():
    script = Script()
    script.upsert()
    probing = script.spawned(script.fetched(script.load()))
    attempt = only(probing, c.ProbeEngine).model.attempt
    found = script.send(
        e.EngineFailed(
            model_id=M, attempt=attempt, because="canary answered 500", log_tail=("a", "b")
        )
    )
    assert only(found, c.StopEngine).grace_s == 0.0
    assert script.status().because == "canary answered 500"
    assert none_of(script.tick(100.0), c.FetchWeights)
    assert only(script.exited(attempt), c.FetchWeights)


def test_a_permanent_failure_is_not_tried_again_by_itself():
    script = Script()
    script.upsert()
    attempt = only(script.fetched(script.load()), c.StartEngine).attempt
    event = e.EngineFailed(model_id=M, attempt=attempt, because="no binary", permanent=True)
    script.send(event)
    script.exited(attempt, "stopped")
    assert script.status().retry_after_s is None
    assert none_of(script.tick(3600.0), c.FetchWeights)


def test_a_load_soon_after_a_permanent_failure_is_refused_then_taken():
    script = Script()
    script.upsert()
    attempt = only(script.load(), c.FetchWeights).attempt
    script.send(e.WeightsFailed(model_id=M, attempt=attempt, because="no file", retryable=False))
    refused = answer(script.load())
    assert not refused.accepted
    assert "no file" in refused.because
    script.now += 60.0
    assert only(script.load(), c.FetchWeights)


def test_a_new_config_is_tried_at_once_whatever_the_old_one_did():
    script = Script()
    script.upsert()
    attempt = only(script.load(), c.FetchWeights).attempt
    script.send(e.WeightsFailed(model_id=M, attempt=attempt, because="no file", retryable=False))
    script.upsert(config(source="models/there.gguf"))
    assert only(script.load(), c.FetchWeights).source == "models/there.gguf"
    assert script.status().failures == 0


def test_a_crash_loop_rests_and_says_so():
    limits = Limits(memory_budget_bytes=GIB, crashes_max=3, crash_pause_s=300.0)
    script = Script(limits)
    attempt = script.bring_up()
    for _ in range(2):
        script.exited(attempt, "killed by SIGSEGV")
        attempt = script.go_on(script.tick(script.status().retry_after_s))
    script.exited(attempt, "killed by SIGSEGV")
    status = script.status()
    assert status.because.startswith("crash loop: 3 failures within 300 s")
    assert "SIGSEGV" in status.because
    assert (status.retry_after_s, status.failures) == (300.0, 3)
    refused = answer(script.load())
    assert not refused.accepted
    assert "300.0 s" in refused.because
    assert none_of(script.tick(299.0), c.FetchWeights)
    assert only(script.tick(1.0), c.FetchWeights)


def test_a_stable_time_forgives_earlier_crashes():
    script = Script()
    attempt = script.bring_up()
    script.exited(attempt)
    attempt = script.go_on(script.tick(script.status().retry_after_s))
    assert script.status().failures == 1
    script.tick(script.limits.stable_s)
    assert script.status().failures == 0


def test_an_unload_ends_the_retries_of_a_failed_model():
    script = Script()
    attempt = script.bring_up()
    script.exited(attempt)
    script.unload()
    assert script.status().state is ModelState.UNLOADED
    assert none_of(script.tick(1000.0), c.FetchWeights)
