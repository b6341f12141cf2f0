"""Flags as settings."""

import click
import pytest

from helexa.cli.options import CORTEX_FLAGS, NEURON_FLAGS, Finite, given_flags
from helexa.config.load import Flag


def test_only_flags_that_were_given_become_settings() -> None:
    values = {"gateway_socket": ":80", "log_level": None, "orchestrator_socket": "off"}
    assert given_flags(CORTEX_FLAGS, values) == {
        ("gateway", "socket"): Flag(":80", "--gateway-socket"),
        ("admin", "socket"): Flag("off", "--orchestrator-socket"),
    }


def test_a_switch_is_given_or_left_to_the_file() -> None:
    assert given_flags(NEURON_FLAGS, {"allow_cleartext": None}) == {}
    given = given_flags(NEURON_FLAGS, {"allow_cleartext": True})
    assert given["allow_cleartext",].value is True


@pytest.mark.parametrize("told", ["nan", "inf", "-inf", "NaN", "a while", "0"])
def test_a_time_that_is_no_number_of_seconds_is_refused(told: str) -> None:
    with pytest.raises(click.BadParameter, match="not|range"):
        Finite(min=0.0, min_open=True).convert(told, None, None)
    assert Finite(min=0.0, min_open=True).convert("2.5", None, None) == 2.5
