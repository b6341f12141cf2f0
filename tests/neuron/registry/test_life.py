"""A serving engine: checks, condemnation, stale news."""

from helexa.neuron.registry import commands as c
from helexa.neuron.registry import events as e
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from tests.fakes.registry import M, Script, config, none_of, only


def test_a_serving_engine_is_checked_at_intervals():
    script = Script()
    attempt = script.bring_up()
    found = script.tick(script.limits.check_interval_s)
    assert only(found, c.CheckEngine).model.attempt == attempt
    assert none_of(script.tick(script.limits.check_interval_s), c.CheckEngine)
    script.send(e.EngineAnswered(model_id=M, attempt=attempt))
    assert only(script.tick(script.limits.check_interval_s), c.CheckEngine)


def test_only_several_missed_checks_in_a_row_end_an_engine():
    script = Script()
    attempt = script.bring_up()
    missed = e.EngineMissed(model_id=M, attempt=attempt, because="no answer in time")
    for event in (missed, missed, e.EngineAnswered(model_id=M, attempt=attempt), missed, missed):
        assert none_of(script.send(event), c.StopEngine)
    found = script.send(missed)
    assert only(found, c.StopEngine).grace_s == 0.0
    assert only(found, c.CloseSeats)
    assert script.status().because == "3 health checks failed in a row: no answer in time"


def test_a_condemned_engine_is_killed_and_started_anew():
    """F03: an engine that stalls is replaced."""
    script = Script()
    attempt = script.bring_up()
    found = script.send(e.EngineCondemned(model_id=M, attempt=attempt, because="stalled"))
    assert only(found, c.StopEngine).grace_s == 0.0
    assert script.state.running("m") is None
    again = e.EngineCondemned(model_id=M, attempt=attempt, because="stalled")
    assert none_of(script.send(again), c.StopEngine)
    script.exited(attempt)
    assert script.status().because == "stalled"
    assert script.state.log_tail("m") == ("last words",)
    script.go_on(script.tick(60.0))
    late = e.EngineCondemned(model_id=M, attempt=attempt, because="stalled")
    assert script.send(late) == []
    assert script.status().state is ModelState.LOADED


def test_news_of_an_earlier_engine_are_ignored():
    script = Script()
    first = script.bring_up()
    script.exited(first)
    script.go_on(script.tick(60.0))
    assert script.exited(first) == []
    assert script.send(e.Drained(model_id=M, attempt=first)) == []
    assert script.status().state is ModelState.LOADED


def test_news_of_an_unknown_model_are_ignored():
    assert Script().exited(1) == []


def test_an_attached_server_that_fails_is_given_up_and_tried_again():
    script = Script()
    wanted = ModelConfig(id=M, engine="attached", listen_endpoint="http://127.0.0.1:11434")
    attempt = script.bring_up(wanted)
    for _ in range(3):
        script.send(e.EngineMissed(model_id=M, attempt=attempt, because="connection refused"))
    assert script.status().state is ModelState.FAILED
    script.exited(attempt, "stopped")
    assert only(script.tick(60.0), c.StartEngine).attempt != attempt


def test_every_command_carries_the_cause_of_what_it_follows_from():
    script = Script()
    script.upsert()
    load = e.LoadAsked(command_id="x", model_id=M, cause="trace-7")
    attempt = only(script.send(load), c.FetchWeights).attempt
    event = e.WeightsReady(model_id=M, attempt=attempt, weights=e.NO_WEIGHTS)
    assert only(script.send(event), c.StartEngine).cause == "trace-7"


def test_an_engine_that_ends_before_it_is_ready_fails_the_load_with_its_log():
    script = Script()
    script.upsert(config())
    attempt = only(script.spawned(script.fetched(script.load())), c.ProbeEngine).model.attempt
    found = script.exited(attempt, "exited with status 1")
    assert none_of(found, c.StopEngine)
    assert script.status().because == "the engine ended before it was ready: exited with status 1"
    assert script.state.log_tail("m") == ("last words",)
