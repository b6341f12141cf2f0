"""What the commands have in common that change something at a cortex."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import click

from helexa.cli.table import clean
from helexa.util.errors import UsageError


def cause_option(default: str) -> Callable[[Any], Any]:
    """Return the option that says why, for the cortex's log."""
    return click.option(
        "--cause", metavar="TEXT", default=default, show_default=True,
        help="Why, in one line; the cortex's log has it.",
    )  # fmt: skip


def neuron_path(name: str) -> str:
    """Return the admin API's path of a neuron; raises UsageError where none is named."""
    if not name:
        raise UsageError("the neuron's name is empty", error_id="HX-0742", hint="helexa neurons")
    return f"/api/v1/neurons/{quote(name, safe='')}"


def tell(told: Mapping[str, Any], output: str, text: str) -> None:
    """Print what a write did: its answer as it is, or a text for people."""
    click.echo(json.dumps(told) if output == "json" else with_kept(told, clean(text)))


def with_kept(told: Mapping[str, Any], text: str) -> str:
    """Return the text, and below it what does not outlive a restart, and why."""
    if told.get("kept") is not False:
        return text
    return f"{text}\n{clean('it does not outlive a restart: ' + str(told['kept_because']))}"
