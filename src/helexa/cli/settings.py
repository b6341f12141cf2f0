"""`helexa config`: check, show and explain settings without starting anything."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from helexa.cli.options import debug_option, output_option

if TYPE_CHECKING:
    from helexa.config.load import Loaded
    from helexa.config.shared import SharedSettings

_ROLES = ("cortex", "neuron")

role_option = click.option(
    "--role", type=click.Choice(_ROLES), help="Whose settings they are [told by the file's keys]."
)
file_argument = click.argument(
    "file", required=False, type=click.Path(path_type=Path), envvar="HELEXA_CONFIG"
)


@click.group("config")
def config() -> None:
    """Check, show and explain settings. Nothing is started, nothing is changed."""


@config.command("check")
@file_argument
@role_option
@output_option
@debug_option
def check(file: Path | None, role: str | None, output: str) -> None:
    """Tell everything that is wrong with FILE, the environment included; exit 0 or 78.

    Files that the settings name are looked at too: keys, tokens, certificates, the spec.
    """
    from helexa.config.problems import InvalidConfigError

    role = role or _role_of(file)
    try:
        loaded = _load(file, role)
    except InvalidConfigError as error:
        if output == "table":
            raise
        told = [
            {"where": p.where, "field": p.field, "value": p.value, "message": p.message}
            for p in error.problems
        ]
        click.echo(json.dumps({"ok": False, "role": role, "problems": told}))
        click.get_current_context().exit(error.exit_status)
    if output == "json":
        click.echo(json.dumps({"ok": True, "role": role, "problems": []}))
    else:
        named = str(file) if file is not None else "defaults and environment"
        state = loaded.config.state_dir
        click.echo(f"{named}: right, as settings of a {role} (state folder {state})")


@config.command("show")
@file_argument
@role_option
@click.option("--origin", is_flag=True, help="Tell which layer set each value.")
@output_option
@debug_option
def show(file: Path | None, role: str | None, origin: bool, output: str) -> None:  # noqa: FBT001
    """Print the settings that would be used, as TOML that can be used as a file again."""
    from helexa.config.toml_text import to_toml

    loaded = _load(file, role or _role_of(file))
    tree = loaded.config.model_dump(mode="json", by_alias=True)
    if output == "json":
        click.echo(json.dumps(_with_origins(loaded, tree) if origin else tree, indent=2))
        return

    def remark(path: tuple[str | int, ...]) -> str:
        found = loaded.origin(path)
        return found.layer if found.layer == "default" else f"{found.layer}: {found.where}"

    click.echo(to_toml(tree, remark if origin else None), nl=False)


@config.command("schema")
@click.argument("kind", type=click.Choice([*_ROLES, "spec"]), default="cortex")
@debug_option
def schema(kind: str) -> None:
    """Print the JSON schema of a config file (cortex, neuron) or of a spec."""
    from helexa.config.schema import json_schema

    click.echo(json.dumps(json_schema(kind), indent=2))


@config.command("reference")
@debug_option
def reference() -> None:
    """Print the manual of all settings, as Markdown."""
    from helexa.config.manual import manual

    click.echo(manual(), nl=False)


def _role_of(file: Path | None) -> str:
    from helexa.config.load import role_of_file

    return role_of_file(file) if file is not None else "cortex"


def _load(file: Path | None, role: str) -> "Loaded[Any]":
    from helexa.cli.engines import engine_problems
    from helexa.config.load import load_cortex, load_neuron

    loaded: Loaded[Any]
    loaded = load_cortex(file, {}, engine_problems) if role == "cortex" else load_neuron(file, {})
    return loaded


def _with_origins(loaded: "Loaded[SharedSettings]", tree: dict[str, Any]) -> dict[str, Any]:
    """Return `{dotted name: {value, layer, where}}` of every setting."""
    from helexa.config.fields import settings_of

    told = {}
    for setting in settings_of(type(loaded.config)):
        if setting.field.exclude:
            continue
        value: Any = tree
        for part in setting.path:
            value = value[part]
        origin = loaded.origin(setting.path)
        told[setting.name] = {"value": value, "layer": origin.layer, "where": origin.where}
    return told
