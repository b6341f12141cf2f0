"""Output that is kept up to date: redrawn on a terminal, else printed whenever it changes.

A terminal is drawn anew from its top left corner; what is piped gets one text after another, so
that `-o json --watch` is a line for each change.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

import click

REFRESH_S: Final = 1.0
_CLEAR: Final = "\x1b[H\x1b[2J"


def every(interval_s: float) -> Iterator[None]:
    """Yield at once, and again after each interval, for ever; Ctrl-C ends the wait."""
    never = threading.Event()
    while True:
        yield
        never.wait(interval_s)


def show_live(text_of: Callable[[], str], refresh_s: float = REFRESH_S) -> None:
    """Show what `text_of` returns, again and again, until it raises or Ctrl-C ends it."""
    on_terminal = sys.stdout.isatty()
    shown = ""
    for _ in every(refresh_s):
        text = text_of()
        if text == shown:
            continue
        shown = text
        click.echo(f"{_CLEAR}{text}" if on_terminal else text)


watch_option = click.option("-w", "--watch", is_flag=True, help="Keep it up to date until Ctrl-C.")
