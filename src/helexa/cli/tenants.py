"""`helexa tenants`: who has projects and keys."""

import json
from typing import Any

import click

from helexa.cli import people_view
from helexa.cli.people import cause_option, path_of, reach_of, reach_options
from helexa.cli.table import clean


@click.group("tenants", epilog="""\b
Examples:
  helexa tenants create acme
  helexa tenants list
  helexa tenants disable acme --cause "contract ended"

There is a tenant `default` with a project `default` from the beginning.
""")  # fmt: skip
def tenants() -> None:
    """Make, list and disable tenants: teams or customers, each with projects and keys."""


@tenants.command("create")
@click.argument("name")
@cause_option
@reach_options
def create(name: str, cause: str, **given: Any) -> None:
    """Make the tenant NAME, with a project `default`."""
    with reach_of(given).people() as people:
        made = people.post(path_of("tenants"), {"name": name, "cause": cause})
    tell(made, given["output"], f"tenant {name} is made; helexa keys create NAME --tenant {name}")


@tenants.command("list")
@reach_options
def listing(**given: Any) -> None:
    """List all tenants."""
    with reach_of(given).people() as people:
        found = people.get(path_of("tenants"), {})["tenants"]
    click.echo(people_view.listing_text(found, people_view.TENANTS, given["output"]))


@tenants.command("show")
@click.argument("name")
@reach_options
def show(name: str, **given: Any) -> None:
    """Show the tenant NAME, its projects and its keys."""
    with reach_of(given).people() as people:
        found = people.get(path_of("tenants", name), {})
        keys = people.get(path_of("keys"), {"tenant": name})["keys"]
    output = given["output"]
    if output == "json":
        click.echo(json.dumps(found | {"keys": keys}))
        return
    if output == "table":
        click.echo(people_view.listing_text([found], people_view.TENANTS, output) + "\n")
        click.echo(people_view.listing_text(found["projects"], people_view.PROJECTS, output) + "\n")
    click.echo(people_view.listing_text(keys, people_view.KEYS, output))


@tenants.command("disable")
@click.argument("name")
@cause_option
@reach_options
def disable(name: str, cause: str, **given: Any) -> None:
    """Let none of the keys of the tenant NAME in any more, within a second."""
    _set(name, "disable", cause, given)


@tenants.command("enable")
@click.argument("name")
@cause_option
@reach_options
def enable(name: str, cause: str, **given: Any) -> None:
    """Let the keys of the tenant NAME in again."""
    _set(name, "enable", cause, given)


def _set(name: str, what: str, cause: str, given: dict[str, Any]) -> None:
    with reach_of(given).people() as people:
        told = people.post(path_of("tenants", name, what), {"cause": cause})
    tell(told, given["output"], f"tenant {name} is {told['state']}")


def tell(told: Any, output: str, text: str) -> None:
    """Print what was changed: the row as JSON, or a sentence."""
    click.echo(json.dumps(told) if output == "json" else clean(text))
