"""How errors are told on a terminal, and the exit status of each.

    error[HX-0412]: no neuron can hold qwen3-32b (needs 21.4 GiB, best free is 15.1 GiB)
      hint: helexa status

Status: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 not allowed · 5 cannot be reached ·
6 limit or conflict · 7 timed out · 8 unhealthy · 10 changes (`spec plan`) · 78 wrong settings ·
130 interrupted.
"""

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from helexa.util.errors import HelexaError, describe

INTERRUPTED: Final = 130
_FAILED: Final = 1
_USAGE: Final = 2


@dataclass(slots=True)
class Telling:
    """What the whole command line shares: how errors are told, and who asks."""

    debug: bool = False
    color: bool | None = None
    """None: where the stream is a terminal."""
    admin_key_file: Path | None = None
    """Where the key for the admin API is."""


def exit_status_of(error: BaseException) -> int:
    """Return the exit status that tells this error."""
    if isinstance(error, HelexaError):
        return error.exit_status
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, click.UsageError):
        return _USAGE
    return _FAILED


def tell_error(error: BaseException, telling: Telling) -> None:
    """Print an error on standard error in the one form, with a traceback where asked for."""
    if telling.debug:
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        click.echo("interrupted", err=True)
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
    elif isinstance(error, BrokenPipeError):
        # Whoever read our output has left (`| head`); there is nobody to tell.
        sys.stderr.close()
    else:
        error_id, message, hint = _parts(error)
        label = click.style(f"error[{error_id}]", fg="red")
        click.echo(f"{label}: {message}", err=True, color=telling.color)
        for line in hint.splitlines():
            click.echo(f"  hint: {line}", err=True)


def _parts(error: BaseException) -> tuple[str, str, str]:
    if isinstance(error, HelexaError):
        return error.error_id, error.message, error.hint
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "helexa"
        return "HX-0002", error.format_message(), f"{path} --help"
    if isinstance(error, click.ClickException):
        return "HX-0003", error.format_message(), ""
    if isinstance(error, OSError):
        return "HX-0004", describe(error), "--debug shows where it happened"
    return "HX-0001", f"a fault of helexa: {describe(error)}", "--debug shows where it happened"
