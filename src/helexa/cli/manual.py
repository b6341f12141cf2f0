"""The generated pages of the documentation: settings, engines, types, commands.

`python -m helexa.cli.manual FOLDER` writes them; a test tells when they are out of date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from helexa.cli.api_manual import api_page
from helexa.cli.engine_manual import engine_manual
from helexa.cli.main import cli
from helexa.config.manual import manual
from helexa.model_runtime.engines.catalogue import ENGINES

_COMMANDS_HEAD = """# Commands

This page is written by `make docs`; do not edit it by hand. Each command prints its part of it with
`--help`.

Exit status: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 not allowed · 5 cannot be reached ·
6 limit or conflict · 7 timed out · 8 unhealthy (`status --check`) · 10 changes (`spec plan`) ·
78 wrong settings · 130 interrupted. Errors go to standard error as
`error[HX-…]: what happened`, with a line `hint: what to do` below; `--debug` adds a traceback.
Output goes to standard output, and `-o json` is stable. `NO_COLOR` switches colours off; progress
is a bar only on a terminal.
"""


def pages() -> dict[str, str]:
    """Return the text of each generated page by its file name."""
    return {
        "configuration.md": manual(),
        "engines.md": engine_manual(ENGINES),
        "commands.md": commands_page(),
        "api.md": api_page(),
    }


def commands_page() -> str:
    """Return the page about all commands."""
    parts = [_COMMANDS_HEAD]
    top = click.Context(
        cli, info_name="helexa", terminal_width=100, help_option_names=["-h", "--help"]
    )
    for path, text in _helps(top):
        parts.append(f"## `{path}`\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def _helps(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the help of a context's command and of all below it."""
    command = context.command
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, "it is on the list"
            below = click.Context(inner, context, info_name=name, terminal_width=100)
            yield from _helps(below)


def main(folder: Path) -> None:
    """Write all generated pages into a folder."""
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
