"""`helexa models load|unload|pin|unpin`: what an operator wants of one model."""

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_served_model
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.writing import cause_option, tell

name_argument = click.argument("name", shell_complete=complete_served_model)
models_cause_option = cause_option("helexa models")


@click.command("load")
@name_argument
@models_cause_option
@admin_option
@output_option
@debug_option
def load(name: str, cause: str, admin: str, output: str) -> None:
    """Have a replica of the model NAME loaded now, other models making room where they may.

    It leaves again when it was idle for its keep_alive_s, unless min_replicas keeps it.
    """
    _want("load", name, cause, admin, output)


@click.command("unload")
@name_argument
@models_cause_option
@admin_option
@output_option
@debug_option
def unload(name: str, cause: str, admin: str, output: str) -> None:
    """Unload the model NAME everywhere, once the requests that run on it are done.

    It stays away, min_replicas included, until a request or `helexa models load` asks for it.
    """
    _want("unload", name, cause, admin, output)


@click.command("pin")
@name_argument
@models_cause_option
@admin_option
@output_option
@debug_option
def pin(name: str, cause: str, admin: str, output: str) -> None:
    """Keep the model NAME: it is never evicted and never leaves for being idle."""
    _want("pin", name, cause, admin, output)


@click.command("unpin")
@name_argument
@models_cause_option
@admin_option
@output_option
@debug_option
def unpin(name: str, cause: str, admin: str, output: str) -> None:
    """Let the model NAME go again where its own rules let it."""
    _want("unpin", name, cause, admin, output)


def _want(what: str, name: str, cause: str, admin: str, output: str) -> None:
    told = AdminClient(admin).post(f"/api/v1/models/{what}", {"model": name, "cause": cause})
    tell(told, output, f"{told['id']} ({told['state']}): {told['because']}")
