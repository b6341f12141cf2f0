"""Problems with settings, told."""

import pytest

from helexa.config.problems import (
    COMPARED_MAX,
    InvalidConfigError,
    Problem,
    did_you_mean,
    dotted,
    show,
)


def test_a_problem_names_place_field_value_and_what_is_allowed() -> None:
    """R0.15: the field name, the bad value and what is allowed."""
    problem = Problem("cortex.toml:3", "log.level", "must be 'debug' or 'info'", '"loud"')
    assert str(problem) == "cortex.toml:3: log.level = \"loud\": must be 'debug' or 'info'"


def test_all_problems_stand_in_one_error_and_the_exit_status_is_that_of_bad_settings() -> None:
    problems = [Problem("f:1", "a", "x"), Problem("f:2", "b", "y")]
    error = InvalidConfigError(problems, "cortex")
    assert error.message == "2 problems in the settings of cortex\n  f:1: a: x\n  f:2: b: y"
    assert error.exit_status == 78
    assert "1 problem in" in InvalidConfigError(problems[:1], "cortex").message


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted(("models", 0, "aliases", 2)) == "models[0].aliases[2]"


def test_long_values_are_cut() -> None:
    assert len(show("x" * 1000)) == 80
    assert show({"a": [1, True]}) == '{"a": [1, true]}'


@pytest.mark.parametrize(
    ("word", "said"),
    [("scoket", "; did you mean socket?"), ("SOCKET", "; did you mean socket?"), ("zzz", "")],
)
def test_a_close_word_is_offered_and_a_far_one_is_not(word: str, said: str) -> None:
    assert did_you_mean(word, ["socket", "allow_open"]) == said


def test_nothing_close_is_looked_for_among_very_many_names() -> None:
    names = [f"model-{number}" for number in range(COMPARED_MAX)]
    assert did_you_mean("model-0o", names) == "; did you mean model-0?"
    assert did_you_mean("model-0o", [*names, "one-more"]) == ""
