"""The screen of `helexa status`, word for word."""

from pathlib import Path

import pytest

from helexa.cli.status_view import duration_text, models_text, neurons_text, next_step, status_text
from tests.fakes.fleet_answers import JOIN, empty_status, status_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["healthy", "broken", "empty"])
def test_the_screen_is_as_it_was(name: str) -> None:
    status = empty_status() if name == "empty" else status_of(healthy=name == "healthy")
    assert status_text(status, JOIN) + "\n" == (GOLDEN / f"status_{name}.txt").read_text()


def test_what_is_loading_shows_how_far_it_is() -> None:
    status = status_of(healthy=True)
    status["models"][0] |= {"state": "loading", "progress": 0.42, "replicas": [],
                            "next_attempt_in_s": 61.0, "because": "downloading"}  # fmt: skip
    row = models_text(status["models"]).splitlines()[1]
    assert "loading 42 %" in row
    assert row.endswith("downloading (next try in 1 min 1 s)")
    assert next_step(status, JOIN) == "wait for what is loading, then: helexa status"


def test_a_model_that_is_not_loaded_shows_what_it_is_known_to_do() -> None:
    """Lesson 43."""
    status = status_of(healthy=True)
    known = status["models"][0]["capability"] | {"tools": True}
    status["models"][0] |= {"state": "unloaded", "replicas": [], "capability": known}
    assert "chat completion tools" in models_text(status["models"])


def test_a_stopping_cortex_says_so() -> None:
    status = status_of(healthy=True) | {"state": "draining"}
    assert "is stopping" in next_step(status, JOIN)


def test_names_of_other_machines_cannot_steer_the_terminal() -> None:
    status = status_of(healthy=True)
    status["neurons"][0]["id"] = "evil\x1b[2J"
    assert "\x1b" not in neurons_text(status["neurons"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min 59 s"), (3600, "1 h"),
     (11_530, "3 h 12 min"), (200_000, "2 d 7 h")],
)  # fmt: skip
def test_time_spans_are_told_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
