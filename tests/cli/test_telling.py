"""Errors on a terminal."""

import click
import pytest

from helexa.cli.telling import Telling, exit_status_of, tell_error
from helexa.util import errors

KINDS = [
    (errors.HelexaError, 1), (errors.UsageError, 2), (errors.NotFoundError, 3),
    (errors.AuthError, 4), (errors.UnreachableError, 5), (errors.LimitError, 6),
    (errors.TimedOutError, 7), (errors.UnhealthyError, 8), (errors.ConfigError, 78),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status"), KINDS)
def test_each_kind_of_error_has_its_status_and_the_one_form(
    kind: type[errors.HelexaError], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("it broke", error_id="HX-9999", hint="mend it\nor not")
    assert exit_status_of(error) == status
    tell_error(error, Telling())
    assert capsys.readouterr().err == (
        "error[HX-9999]: it broke\n  hint: mend it\n  hint: or not\n"
    )


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (KeyboardInterrupt(), click.exceptions.Abort()):
        assert exit_status_of(error) == 130
        tell_error(error, Telling())
    assert capsys.readouterr().err == "interrupted\ninterrupted\n"


def test_a_fault_of_ours_is_told_with_its_whole_cause(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        assert exit_status_of(error) == 1
        tell_error(error, Telling())
    told = capsys.readouterr().err
    assert told.startswith("error[HX-0001]: a fault of helexa: RuntimeError: outer <- KeyError")


def test_colour_is_left_out_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.UsageError("x", error_id="HX-1")
    tell_error(error, Telling(color=True))
    assert "\x1b[31m" in capsys.readouterr().err
    tell_error(error, Telling(color=False))
    assert "\x1b" not in capsys.readouterr().err
