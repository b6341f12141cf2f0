"""`helexa version`."""

import json
import platform

import click

from helexa import __version__
from helexa.cli.options import output_option


@click.command("version")
@output_option
def version(output: str) -> None:
    """Print the version of helexa, of the protocol it speaks, and of Python."""
    from helexa.protocol.version import VERSION, VERSION_MIN

    facts = {
        "helexa": __version__,
        "protocol": VERSION,
        "protocol_min": VERSION_MIN,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
    }
    if output == "json":
        click.echo(json.dumps(facts))
    else:
        click.echo(
            f"helexa {facts['helexa']} (protocol {VERSION}, Python {facts['python']}, "
            f"{facts['platform']})"
        )
