"""`helexa version`."""

import json
import platform

import click

from helexa.cli.options import output_option


@click.command("version")
@output_option
def version(output: str) -> None:
    """Print the version and commit of helexa, and the versions of its protocol and of Python."""
    from helexa.protocol.version import VERSION, VERSION_MIN
    from helexa.util.build import SHOWN_CHARS, identity

    build = identity()
    facts = {
        "helexa": build.pop("version"),
        **build,
        "protocol": VERSION,
        "protocol_min": VERSION_MIN,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
    }
    if output == "json":
        click.echo(json.dumps(facts))
    else:
        commit = f"commit {build['commit'][:SHOWN_CHARS]}, " if "commit" in build else ""
        click.echo(
            f"helexa {facts['helexa']} ({commit}protocol {VERSION}, Python {facts['python']}, "
            f"{facts['platform']})"
        )
