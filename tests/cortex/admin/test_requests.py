"""A remembered request as the admin API tells it."""

from helexa.cortex.admin.requests import SNAPSHOT_GONE, request_json
from tests.fakes.remembered_requests import refused, retried, running


def test_a_request_is_told_with_its_times_and_every_decision() -> None:
    told = request_json("req-1", retried())
    assert (told["state"], told["outcome"], told["status"]) == ("ended", "ok", 200)
    assert (told["asked_model"], told["model"], told["attempts"]) == ("m", "m", 2)
    assert (told["prompt_tokens"], told["completion_tokens"]) == (3, 5)
    steps = [(step["at_ms"], step["event"]) for step in told["timeline"]]
    assert steps == [
        (0.0, "received"), (0.0, "held"), (2500.0, "sent"), (2750.0, "sent"),
        (3250.0, "first byte"), (3250.0, "end"),
    ]  # fmt: skip
    held, first, second = told["decisions"]
    assert (held["chosen"], held["code"]) == (None, "model_loading")
    assert first["chosen"] != second["chosen"] == told["neuron"]
    assert [each["filter"] for each in first["candidates"]] == [None, None]
    removed = {each["neuron"]: each["filter"] for each in second["candidates"]}
    assert removed == {first["chosen"]: "untried", second["chosen"]: None}
    assert first["in_flight_known"]


def test_what_is_noted_late_never_makes_a_decision_older_than_its_request() -> None:
    found = retried()
    told = request_json("req-1", found._replace(ended_s=found.ended_s + 0.004))
    assert min(step["at_ms"] for step in told["timeline"]) == 0.0


def test_a_refused_request_is_told_with_the_reason() -> None:
    told = request_json("req-1", refused())
    assert (told["outcome"], told["code"]) == ("client_error", "model_not_found")
    assert [step["event"] for step in told["timeline"]] == ["received", "refused", "end"]
    (decision,) = told["decisions"]
    assert decision["code"] == "model_not_found"
    assert "no model is called 'nope'" in decision["because"]


def test_a_running_request_has_no_end_yet() -> None:
    told = request_json("req-1", running())
    assert told["state"] == "running"
    assert [step["event"] for step in told["timeline"]] == ["received", "sent"]
    assert "outcome" not in told


def test_what_was_decided_is_told_without_its_snapshot() -> None:
    found = retried()
    for decision in found.decisions:
        decision.kept.snapshot = None
    told = request_json("req-1", found)
    held, first, _ = told["decisions"]
    assert first["candidates"] is None
    assert first["because"] == SNAPSHOT_GONE
    assert first["chosen"]
    assert held["code"] == "model_loading"
