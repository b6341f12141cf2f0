"""`helexa up`: everything on this machine with one command."""

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from helexa.cli.options import (
    CORTEX_FLAGS,
    NEURON_FLAGS,
    config_option,
    debug_option,
    given_flags,
    output_option,
    setting_flags,
)
from helexa.util.errors import LimitError

if TYPE_CHECKING:
    from helexa.cli.up_lock import StackLock
    from helexa.cli.up_plan import UpPlan
    from helexa.cli.up_stack import Stack
    from helexa.cli.up_words import Steps

# What `up` settles by itself: its own neuron's way to its own cortex.
_SETTLED = {"--cortex-control-endpoint", "--allow-cleartext"}
_SHARED = {flag.names[0] for flag in CORTEX_FLAGS} & {flag.names[0] for flag in NEURON_FLAGS}
_NEURON_ONLY = tuple(
    flag for flag in NEURON_FLAGS if flag.names[0] not in _SETTLED and flag.names[0] not in _SHARED
)
_WAIT_POLL_S = 0.2


@click.command("up", epilog="""\b
Examples:
  helexa up
  helexa up --model smollm2-135m --model all-minilm-l6-v2
  helexa up --model mine=hf:org/repo/file.gguf
  helexa up --config cortex.toml --control-plane-socket :9040
  helexa up --engine echo        (a test engine: no weights, no waiting)
""")  # fmt: skip
@click.option("-m", "--model", "models", multiple=True, metavar="NAME[=SOURCE]",
              help="Model to serve; may be given more than once [smollm2-135m].")  # fmt: skip
@click.option("--engine", metavar="ENGINE", help="What runs the models [llamacpp].")
@config_option
@click.option("--neuron-config", "neuron_config_file", metavar="FILE",
              type=click.Path(path_type=Path), help="TOML file of the neuron.")  # fmt: skip
@setting_flags((*CORTEX_FLAGS, *_NEURON_ONLY))
@click.option("-v", "--verbose", is_flag=True, help="Show what the two processes log.")
@output_option
@debug_option
def up(
    models: tuple[str, ...], engine: str | None, config_file: Path | None,
    neuron_config_file: Path | None, verbose: bool, output: str, **flags: Any,  # noqa: FBT001
) -> None:  # fmt: skip
    """Start a cortex and a neuron on this machine, and serve a first model, end to end.

    Downloads the model's weights where they are not held yet, tells each step and how long it
    took, and, when the first token has been served, how to use it. Ctrl-C stops everything; nothing
    is left behind. Where the same stack runs already, says so.
    """
    from helexa.cli.roles import run_until_done
    from helexa.cli.up_plan import Wish, make_plan
    from helexa.cli.up_words import Steps
    from helexa.util import logging
    from helexa.util.clock import SystemClock

    logging.setup("warning")
    steps = Steps(SystemClock())
    shared = [flag for flag in NEURON_FLAGS if flag.names[0] in _SHARED]
    wish = Wish(
        config_file, neuron_config_file, models, engine, given_flags(CORTEX_FLAGS, flags),
        given_flags((*shared, *_NEURON_ONLY), flags),
    )  # fmt: skip
    plan = make_plan(wish)
    run_until_done(_up(plan, steps, output, verbose=verbose))


async def _up(plan: "UpPlan", steps: "Steps", output: str, *, verbose: bool) -> None:
    from helexa.cli.up_lock import StackLock
    from helexa.cli.up_stack import Stack

    lock = StackLock(plan.folder)
    if await _is_up_already(plan, lock, output):
        return
    stack = Stack(plan, steps, verbose=verbose)
    signals = _Signals()
    signals.listen()
    try:
        await _until_stopped(_serve(plan, stack, lock, output), signals)
        if lock.facts() is None:
            raise KeyboardInterrupt  # stopped before it was up
    finally:
        click.echo("stopping (Ctrl-C again: at once) …", err=True)
        await stack.stop(at_once=lambda: signals.count > 1)
        lock.release()
        click.echo("stopped", err=True)


async def _is_up_already(plan: "UpPlan", lock: "StackLock", output: str) -> bool:
    """Take the lock, or wait for the facts of whoever has it and tell them."""
    deadline_s = asyncio.get_running_loop().time() + plan.neuron.timeouts.load_s
    waiting = False
    while not lock.take():
        facts = lock.facts()
        if facts is not None:
            _require_served(plan, facts)
            heading = "helexa is up already; this is it:"
            _tell(facts, output, heading, "It is stopped by Ctrl-C where it was started.")
            return True
        if asyncio.get_running_loop().time() >= deadline_s:
            raise LimitError(
                f"another `helexa up` has been starting in {plan.cortex.state_dir} for a long time",
                error_id="HX-0608", hint="stop it, or name another --state-dir",
            )  # fmt: skip
        if not waiting:
            click.echo("another `helexa up` is starting here; waiting for it …", err=True)
            waiting = True
        await asyncio.sleep(_WAIT_POLL_S)
    return False


def _require_served(plan: "UpPlan", facts: dict[str, Any]) -> None:
    missing = [model for model in plan.model_ids if model not in facts["models"]]
    if missing:
        raise LimitError(
            f"helexa is up already, without {', '.join(missing)}; it serves "
            f"{', '.join(facts['models'])}",
            error_id="HX-0609",
            hint="stop it (Ctrl-C in its terminal) and start it again, or name another --state-dir",
        )


async def _serve(plan: "UpPlan", stack: "Stack", lock: "StackLock", output: str) -> None:
    from helexa.cli.up_words import facts_of

    models = await stack.bring_up(after_crash=lock.found_remains)
    facts = facts_of(plan, models, stack.first_token_s)
    lock.tell(facts)
    heading = f"helexa is up: the first token was there after {stack.first_token_s:.1f} s"
    _tell(facts, output, heading, "Ctrl-C stops everything.")
    await stack.watch()


def _tell(facts: dict[str, Any], output: str, heading: str, ending: str) -> None:
    from helexa.cli.up_words import ready_text

    click.echo(json.dumps(facts) if output == "json" else ready_text(facts, heading, ending))


class _Signals:
    """Counts requests to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.first = asyncio.Event()

    def listen(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP from here on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._come)

    def _come(self) -> None:
        self.count += 1
        self.first.set()


async def _until_stopped(work: Any, signals: _Signals) -> None:
    """Run `work` until it fails or somebody asks to stop."""
    from helexa.util.tasks import TaskScope

    scope = TaskScope(lambda _name, _error: None)  # its failure is raised below
    serving = scope.start(work, "serve")
    asked = scope.start(signals.first.wait(), "stop")
    try:
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    finally:
        await scope.close()
