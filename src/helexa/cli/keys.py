"""`helexa keys`: API keys are made, listed, rotated, revoked and tested."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from helexa.cli import people_view
from helexa.cli.people import cause_option, path_of, reach_of, reach_options
from helexa.cli.private_files import write_private
from helexa.cli.projects import parts_of
from helexa.cli.table import clean
from helexa.cli.tenants import tell
from helexa.util.errors import AuthError, UsageError

_SCOPES: Final = ("inference", "read", "admin")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH: Final = re.compile(r"([0-9]{1,9})([smhdw])\Z")


class Length(click.ParamType[float]):
    """A length of time such as `90d`, in seconds."""

    name = "length"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds; fails with what is allowed."""
        if isinstance(value, float):
            return value
        found = _LENGTH.match(str(value))
        if found is None:
            self.fail(f"{value!r} is not a length of time; write 90d, 12h, 30m, 45s or 2w", param)
        return float(found[1]) * _UNITS[found[2]]


expires_option = click.option(
    "--expires", "live_s", metavar="LENGTH", type=Length(),
    help="How long it is good, such as 90d or 12h; without it, until it is revoked.",
)  # fmt: skip
key_output_option = click.option(
    "--output-file", metavar="FILE", type=click.Path(path_type=Path),
    help="Write the key into this file, which only you can read, instead of showing it.",
)  # fmt: skip


@click.group("keys", epilog="""\b
Examples:
  helexa keys create alice
  helexa keys create ci --tenant acme --project search --expires 90d
  helexa keys create me --scope admin --scope read --output-file admin.key
  helexa keys rotate 4x8fQm2LkZ7 --overlap 24h
  helexa keys revoke 4x8fQm2LkZ7 --cause "laptop lost"
  helexa keys test --key-file alice.key
""")  # fmt: skip
def keys() -> None:
    """Give out, list, rotate and revoke API keys. Needs a cortex with `--auth store`."""


@keys.command("create")
@click.argument("name")
@click.option("--tenant", metavar="NAME", default="default", show_default=True,
              help="Whose key it is.")  # fmt: skip
@click.option("--project", metavar="NAME", default="default", show_default=True,
              help="Which of the tenant's projects it is for.")  # fmt: skip
@click.option("--scope", "scopes", type=click.Choice(_SCOPES), multiple=True,
              default=("inference",), show_default=True,
              help="What it is for; may be repeated. read, admin: the whole cortex.")  # fmt: skip
@expires_option
@key_output_option
@cause_option
@reach_options
def create(
    name: str,
    tenant: str,
    project: str,
    scopes: tuple[str, ...],
    live_s: float | None,
    output_file: Path | None,
    cause: str,
    **given: Any,
) -> None:
    """Make a key for NAME. It is shown once, on standard output, and kept nowhere."""
    body = {"name": name, "tenant": tenant, "project": project, "scopes": scopes,
            "live_s": live_s, "cause": cause}  # fmt: skip
    with reach_of(given).people() as people:
        made = people.post(path_of("keys"), body)
    _hand_over(made, given["output"], output_file, f"key {made['id']} for {name}")


@keys.command("list")
@click.option("--tenant", metavar="NAME", help="Only those of this tenant.")
@click.option("--project", metavar="TENANT/NAME", help="Only those of this project.")
@reach_options
def listing(tenant: str | None, project: str | None, **given: Any) -> None:
    """List keys by their public ids: whose they are, what for, and how they stand."""
    query: dict[str, str | None] = {"tenant": tenant}
    if project is not None:
        query["tenant"], query["project"] = parts_of(project)
    with reach_of(given).people() as people:
        found = people.get(path_of("keys"), query)["keys"]
    click.echo(people_view.listing_text(found, people_view.KEYS, given["output"]))


@keys.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option("--overlap", "overlap_s", metavar="LENGTH", type=Length(), default=86_400.0,
              show_default="24h", help="How long the old key stays good.")  # fmt: skip
@expires_option
@key_output_option
@cause_option
@reach_options
def rotate(
    key_id: str,
    overlap_s: float,
    live_s: float | None,
    output_file: Path | None,
    cause: str,
    **given: Any,
) -> None:
    """Make the key that follows the key ID; both are good until the overlap is over."""
    body = {"overlap_s": overlap_s, "live_s": live_s, "cause": cause}
    with reach_of(given).people() as people:
        made = people.post(path_of("keys", key_id, "rotate"), body)
    until = people_view.time_text(made["old_expires_s"])
    told = f"key {made['id']} follows {key_id}, which is good until {until}"
    _hand_over(made, given["output"], output_file, told)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@cause_option
@reach_options
def revoke(key_id: str, cause: str, **given: Any) -> None:
    """Let the key ID in no more, within a second, in every cortex of this store."""
    with reach_of(given).people() as people:
        told = people.post(path_of("keys", key_id, "revoke"), {"cause": cause})
    tell(told, given["output"], f"key {key_id} of {told['name']} is revoked")


@keys.command("test")
@click.option("--key-file", metavar="FILE", type=click.Path(path_type=Path),
              help="File with the key; else it is read from standard input.")  # fmt: skip
@reach_options
def test(key_file: Path | None, **given: Any) -> None:
    """Tell how a key stands: a typo, unknown, revoked, expired, disabled or good. Exit 0 or 4."""
    with reach_of(given).people() as people:
        told = people.post(path_of("keys", "test"), {"key": _key_text(key_file)})
    standing = told["standing"]
    if given["output"] == "json":
        click.echo(json.dumps(told))
    elif told["key"] is not None:
        click.echo(people_view.listing_text([told["key"]], people_view.KEYS, given["output"]))
    if standing != "good":
        because = f": {told['because']}" if told["because"] else ""
        raise AuthError(
            f"the key is {standing}{because}", error_id="HX-0762",
            hint="over HTTP it is answered 401, like every other that is not good",
        )  # fmt: skip


def _key_text(key_file: Path | None) -> str:
    if key_file is not None:
        try:
            return key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {key_file}: {error}", error_id="HX-0763") from error
    if sys.stdin.isatty():
        asked: str = click.prompt("key", hide_input=True)
        return asked.strip()
    return sys.stdin.read(4096).strip()


def _hand_over(made: dict[str, Any], output: str, file: Path | None, told: str) -> None:
    """Give the key to whoever asked for it: the only time that its text is seen."""
    if file is not None:
        write_private(file, made["key"] + "\n")
        made = {name: value for name, value in made.items() if name != "key"}
        click.echo(clean(f"{told} is in {file}; it cannot be shown again"), err=True)
    else:
        click.echo(clean(f"{told}; it is shown now and never again:"), err=True)
    if output == "json":
        click.echo(json.dumps(made))
    elif output == "csv":
        columns = (*people_view.KEYS, "key") if "key" in made else people_view.KEYS
        click.echo(people_view.csv_text([made], columns))
    elif file is None:
        click.echo(made["key"])
