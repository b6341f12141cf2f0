"""`helexa neuron cordon|uncordon|drain`: what an operator does before and after a repair."""

from typing import Any, Final

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_neuron
from helexa.cli.live import every
from helexa.cli.options import Finite, admin_option, debug_option, output_option
from helexa.cli.table import clean
from helexa.cli.writing import cause_option, neuron_path, tell
from helexa.util.clock import SystemClock
from helexa.util.errors import TimedOutError

POLL_S: Final = 0.3
name_argument = click.argument("name", shell_complete=complete_neuron)
neuron_cause_option = cause_option("helexa neuron")


@click.command("cordon", epilog="""\b
Examples:
  helexa neuron cordon rack2
""")  # fmt: skip
@name_argument
@neuron_cause_option
@admin_option
@output_option
@debug_option
def cordon(name: str, cause: str, admin: str, output: str) -> None:
    """Place no further model on the neuron NAME; what it has goes on serving."""
    told = _mark(AdminClient(admin), name, "cordon", cause)
    tell(told, output, f"{name} is cordoned: it gets no further models")


@click.command("uncordon", epilog="""\b
Examples:
  helexa neuron uncordon rack2
""")  # fmt: skip
@name_argument
@neuron_cause_option
@admin_option
@output_option
@debug_option
def uncordon(name: str, cause: str, admin: str, output: str) -> None:
    """Let the neuron NAME take part again, after a cordon or a drain."""
    told = _mark(AdminClient(admin), name, "uncordon", cause)
    tell(told, output, f"{name} takes part again")


@click.command("drain", epilog="""\b
Examples:
  helexa neuron drain rack2 --wait
  helexa neuron drain rack2 --wait --timeout 600 && ssh rack2 poweroff
  helexa neuron uncordon rack2          (when it is back)
""")  # fmt: skip
@name_argument
@click.option(
    "--wait", is_flag=True, help="Show how far it is, and return when nothing runs there."
)
@click.option(
    "--timeout", "timeout_s", metavar="SECONDS", type=Finite(min=0.0, min_open=True),
    default=3600.0, show_default=True, help="With --wait: give up after this time, with exit 7.",
)  # fmt: skip
@neuron_cause_option
@admin_option
@output_option
@debug_option
def drain(
    name: str,
    wait: bool,  # noqa: FBT001
    timeout_s: float,
    cause: str,
    admin: str,
    output: str,
) -> None:
    """Empty the neuron NAME: needed models move elsewhere first, then leave; requests finish.

    The mark outlives restarts of the cortex and of the neuron; `helexa neuron uncordon` takes it
    away. A model that no other neuron can hold stays and goes on serving.
    """
    client = AdminClient(admin)
    told = _mark(client, name, "drain", cause)
    if not wait:
        hint = f"helexa neuron drain {name} --wait   # shows how far it is"
        tell(told, output, f"{name} is being drained; {hint}")
        return
    found = _wait_until_drained(client, name, timeout_s)
    where = "nothing runs there" if found["state"] == "connected" else f"it is {found['state']}"
    tell(found, output, f"{name} is drained: {where}")


def _mark(client: AdminClient, name: str, mark: str, cause: str) -> Any:
    return client.post(f"{neuron_path(name)}/{mark}", {"cause": cause})


def _wait_until_drained(client: AdminClient, name: str, timeout_s: float) -> Any:
    """Return the neuron once it is drained; what it waits for is told when it changes."""
    clock = SystemClock()
    deadline_s = clock.monotonic() + timeout_s
    told = ""
    for _ in every(POLL_S):
        found = client.get(neuron_path(name))
        progress = found["drain"]
        # The mark is set by the next turn of the control loop, a moment after it was taken.
        if progress is not None and progress["done"]:
            return found
        text = _progress_text(progress)
        if text != told:
            told = text
            click.echo(f"{name}: {clean(text)}", err=True)
        if clock.monotonic() >= deadline_s:
            raise TimedOutError(
                f"{name} is not drained after {timeout_s:g} s: {text}", error_id="HX-0741",
                hint=f"it goes on draining; helexa neuron uncordon {name} ends that",
            )  # fmt: skip
    raise AssertionError("the wait has no end of its own")


def _progress_text(progress: Any) -> str:
    if progress is None:
        return "is not marked yet"
    left = [f"{each['model']} {each['because']}" for each in progress["left"]]
    count = progress["requests"]
    running = [f"{count} request{'s' if count != 1 else ''} running"] if count else []
    return "; ".join([*running, *left]) or "is nearly done"
