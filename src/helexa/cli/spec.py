"""`helexa spec`: check a spec, see what it would change, and apply it to a running cortex."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from helexa.cli.options import admin_option, debug_option, output_option

if TYPE_CHECKING:
    from helexa.config.spec_file import SpecRead

CHANGES: Final = 10
"""Exit status of `plan` where applying the spec would change something."""
file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group("spec", epilog="""\b
Examples:
  helexa spec check spec.json
  helexa spec plan spec.json           (exit 10 when it would change something)
  helexa spec apply spec.json
  helexa spec schema > spec.schema.json
""")  # fmt: skip
def spec() -> None:
    """Check, plan and apply the JSON file with the models that should run."""


@spec.command("check")
@file_argument
@output_option
@debug_option
def check(file: Path, output: str) -> None:
    """Tell everything that is wrong with FILE by JSON path and line; exit 0 or 78.

    Nothing is started or asked. Models that only the cortex's own config names are not known here.
    """
    from helexa.config.problems import InvalidConfigError

    try:
        read = _read(file)
    except InvalidConfigError as error:
        if output == "table":
            raise
        told = [
            {"where": p.where, "field": p.field, "value": p.value, "message": p.message}
            for p in error.problems
        ]
        click.echo(json.dumps({"ok": False, "problems": told}))
        click.get_current_context().exit(error.exit_status)
    assert read.spec is not None
    count = len(read.spec.models)
    if output == "json":
        click.echo(json.dumps({"ok": True, "problems": []}))
    else:
        click.echo(f"{file}: right, a spec with {count} model{'s' if count != 1 else ''}")


@spec.command("schema")
@debug_option
def schema() -> None:
    """Print the JSON schema of a spec, for editors: name it as "$schema" in the file."""
    from helexa.config.schema import json_schema

    click.echo(json.dumps(json_schema("spec"), indent=2))


@spec.command("plan")
@file_argument
@admin_option
@output_option
@debug_option
def plan(file: Path, admin: str, output: str) -> None:
    """Show what FILE would change on the running cortex, and why; change nothing.

    Exit 0: nothing would change; 10: something would.
    """
    changes = _ask(file, admin, "plan", output)
    if changes:
        click.get_current_context().exit(CHANGES)


@spec.command("apply")
@file_argument
@admin_option
@output_option
@debug_option
def apply(file: Path, admin: str, output: str) -> None:
    """Enforce FILE on the running cortex from now on, over restarts too.

    Models that the cortex's config file names, and values that it sets, stay as they are there. A
    cortex that is started with --spec uses that file instead, and says so in its log.
    """
    _ask(file, admin, "apply", output)


def _ask(file: Path, admin: str, action: str, output: str) -> list[Any]:
    """Send a spec, show what it changes, and return that.

    What can be judged without the cortex is judged here; which engine a model has, and so which
    options, may be said by the cortex's own config alone.
    """
    from helexa.cli.admin_client import AdminClient
    from helexa.cli.spec_view import changes_text
    from helexa.config.load import read_spec_file
    from helexa.config.problems import InvalidConfigError

    read = read_spec_file(file)
    if read.problems:
        raise InvalidConfigError(read.problems, str(file))
    body = {"text": read.text, "name": file.name, "cause": f"spec {action}"}
    told = AdminClient(admin).post(f"/api/v1/spec/{action}", body)
    changes: list[Any] = told["changes"]
    if output == "json":
        click.echo(json.dumps(told))
    else:
        click.echo(changes_text(told))
    return changes


def _read(file: Path) -> "SpecRead":
    """Read a spec; raises InvalidConfigError with every problem."""
    from helexa.cli.engines import engine_problems
    from helexa.config.load import read_spec_file
    from helexa.config.problems import InvalidConfigError
    from helexa.config.spec_file import spec_problems

    read = read_spec_file(file)
    problems = spec_problems(read, engine_problems)
    if problems:
        raise InvalidConfigError(problems, str(file))
    return read
