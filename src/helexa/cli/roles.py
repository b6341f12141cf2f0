"""`helexa cortex` and `helexa neuron`: read the settings, set up logging, run the role."""

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from helexa.cli.marks import cordon, drain, uncordon
from helexa.cli.options import (
    CORTEX_FLAGS,
    NEURON_FLAGS,
    config_option,
    debug_option,
    given_flags,
    setting_flags,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_EPILOG_CORTEX = """\b
Examples:
  helexa cortex
  helexa cortex --config cortex.toml --log-level debug
  helexa cortex --control-plane-socket :9040 --join-token-file join-token

Settings come from defaults, then the file, then HELEXA_… variables, then flags; the later wins.
`helexa config check FILE` tells what is wrong with a file without starting anything."""

_EPILOG_NEURON = """\b
Examples:
  helexa neuron
  helexa neuron --config neuron.toml --node-id rack2
  helexa neuron drain rack2 --wait
  helexa neuron --cortex-control-endpoint wss://cortex.lan:9040 --join-token-file join-token

Settings come from defaults, then the file, then HELEXA_… variables, then flags; the later wins."""


@click.command("cortex", epilog=_EPILOG_CORTEX)
@config_option
@setting_flags(CORTEX_FLAGS)
@debug_option
def cortex(config_file: Path | None, **flags: Any) -> None:
    """Run a cortex: the OpenAI-compatible gateway, and the control plane that neurons join."""
    from helexa.cli.engines import engine_problems
    from helexa.config.load import load_cortex

    loaded = load_cortex(config_file, given_flags(CORTEX_FLAGS, flags), engine_problems)
    config = loaded.bare
    _set_up_logging(config.log.level, config.log.style)
    from helexa.cortex.app import run

    run_until_done(run(config, spec=loaded.spec, engine_problems=engine_problems))


@click.group("neuron", invoke_without_command=True, epilog=_EPILOG_NEURON)
@config_option
@setting_flags(NEURON_FLAGS)
@debug_option
@click.pass_context
def neuron(ctx: click.Context, /, config_file: Path | None, **flags: Any) -> None:
    """Run a neuron: it joins a cortex and runs models on this machine.

    With a command, tell a cortex what to do with one of its neurons instead.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_flags(ctx, flags)
        return
    from helexa.config.load import load_neuron

    config = load_neuron(config_file, given_flags(NEURON_FLAGS, flags)).config
    _set_up_logging(config.log.level, config.log.style)
    from helexa.neuron.app import run

    run_until_done(run(config))


for _command in (cordon, uncordon, drain):
    neuron.add_command(_command)


def _refuse_flags(ctx: click.Context, flags: Mapping[str, Any]) -> None:
    """Settings of a role mean nothing to a command about another machine's neuron."""
    given = [spec.names[0] for spec in NEURON_FLAGS if flags[spec.parameter] is not None]
    if given:
        ctx.fail(f"{given[0]} is for running a neuron, not for `{ctx.invoked_subcommand}`")


def _set_up_logging(level: str, style: str) -> None:
    from helexa.util import logging

    logging.setup(level, style)


def run_until_done(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a fresh event loop, uvloop's where there is one."""
    import asyncio

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> "Callable[[], AbstractEventLoop] | None":
    """Return uvloop's maker of event loops; None, which is asyncio's own, where there is none."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop
