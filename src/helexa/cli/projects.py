"""`helexa projects`: what a tenant uses models for."""

from typing import Any

import click

from helexa.cli import people_view
from helexa.cli.people import cause_option, path_of, reach_of, reach_options
from helexa.cli.tenants import tell
from helexa.util.errors import UsageError


@click.group("projects", epilog="""\b
Examples:
  helexa projects create acme/search
  helexa projects list --tenant acme
  helexa projects disable acme/search
""")  # fmt: skip
def projects() -> None:
    """Make, list and disable projects; a project is named TENANT/NAME."""


@projects.command("create")
@click.argument("project", metavar="TENANT/NAME")
@cause_option
@reach_options
def create(project: str, cause: str, **given: Any) -> None:
    """Make a project of a tenant."""
    tenant, name = parts_of(project)
    with reach_of(given).people() as people:
        made = people.post(path_of("projects"), {"tenant": tenant, "name": name, "cause": cause})
    tell(made, given["output"], f"project {project} is made")


@projects.command("list")
@click.option("--tenant", metavar="NAME", help="Only those of this tenant.")
@reach_options
def listing(tenant: str | None, **given: Any) -> None:
    """List all projects, or those of one tenant."""
    with reach_of(given).people() as people:
        found = people.get(path_of("projects"), {"tenant": tenant})["projects"]
    click.echo(people_view.listing_text(found, people_view.PROJECTS, given["output"]))


@projects.command("disable")
@click.argument("project", metavar="TENANT/NAME")
@cause_option
@reach_options
def disable(project: str, cause: str, **given: Any) -> None:
    """Let none of the keys of a project in any more, within a second."""
    _set(project, "disable", cause, given)


@projects.command("enable")
@click.argument("project", metavar="TENANT/NAME")
@cause_option
@reach_options
def enable(project: str, cause: str, **given: Any) -> None:
    """Let the keys of a project in again."""
    _set(project, "enable", cause, given)


def _set(project: str, what: str, cause: str, given: dict[str, Any]) -> None:
    with reach_of(given).people() as people:
        told = people.post(path_of("projects", *parts_of(project), what), {"cause": cause})
    tell(told, given["output"], f"project {project} is {told['state']}")


def parts_of(project: str) -> tuple[str, str]:
    """Split TENANT/NAME; raises UsageError."""
    tenant, slash, name = project.partition("/")
    if not (tenant and slash and name) or "/" in name:
        raise UsageError(
            f"{project!r} is not a project; write TENANT/NAME, such as default/default",
            error_id="HX-0760",
        )
    return tenant, name
