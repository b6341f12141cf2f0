"""What routing by prompt saves on real engines: `python -m bench.prefix`.

One cortex, four neurons, each with a llama.cpp of one thread that serves the same small model; 40
conversations of growing length. The same conversations are held three times, each on fresh engines:
by `round_robin`, by `default`, and by sessions alone (`default` without its scorer of prompts, each
conversation naming itself in a header). Counted are the prompt tokens that engines had to compute
(all but `cached_tokens` of the usage) and the time to the first token. Told beside it are the least
that could be computed, and what was read again because a conversation moved or because its engine
had not kept it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from bench.conversations import Plan, Tally, hold
from bench.processes import PinnedProcess, free_port
from bench.tools import BENCH_DIR

WAYS = {
    "round_robin": 'strategy = "round_robin"',
    "default": 'strategy = "default"',
    "session": 'strategy = "default"\nweights = { prefix = 0 }',
}
"""What is compared, and the routing settings of each."""
MODEL = "smollm2-135m"
REPLICAS = 4
GOAL = 2.0
READY_WITHIN_S = 300.0  # the first run fetches 93 MB
WEIGHTS = BENCH_DIR.parent / ".make" / "models"

CONFIG = """\
[gateway]
socket = "127.0.0.1:{gateway}"

[control_plane]
socket = "127.0.0.1:{control}"

[admin]
socket = "127.0.0.1:{admin}"

[routing]
{routing}
show_route = true

[[models]]
id = "{model}"
source = "{source}"
min_replicas = {replicas}
max_replicas = {replicas}
options = {{ context_tokens = 2048, parallel = 4 }}
"""


class Fleet:
    """A cortex and its neurons, as processes, with one replica of the model on each neuron."""

    def __init__(self, routing: str, source: str, directory: Path) -> None:
        self._directory = directory
        self._ports = {name: free_port() for name in ("gateway", "control", "admin")}
        self._config = directory / "cortex.toml"
        self._config.write_text(
            CONFIG.format(
                **self._ports, routing=routing, model=MODEL, source=source, replicas=REPLICAS
            )
        )
        self._processes: list[PinnedProcess] = []
        self.url = f"http://127.0.0.1:{self._ports['gateway']}"

    def start(self) -> None:
        """Start all and wait until every neuron has the model."""
        folder = self._directory
        self._spawn("cortex", f"--config={self._config}", f"--state-dir={folder / 'cortex'}")
        for number in range(REPLICAS):
            name = f"n{number}"
            config = folder / f"{name}.toml"
            first = 22000 + number * 20
            config.write_text(
                f'weights_dir = "{WEIGHTS}"\n[engines]\nthreads = 1\n'
                f"port_first = {first}\nport_last = {first + 19}\n"
            )
            self._spawn(
                "neuron",
                f"--config={config}",
                f"--node-id={name}",
                f"--state-dir={folder / name}",
                f"--api-socket=127.0.0.1:{free_port()}",
                f"--cortex-control-endpoint=ws://127.0.0.1:{self._ports['control']}",
            )
        deadline_s = time.monotonic() + READY_WITHIN_S
        while self._replicas() < REPLICAS:
            for process in self._processes:
                if not process.is_running():
                    raise RuntimeError(f"{process.name} ended: {process.log_tail()}")
            if time.monotonic() > deadline_s:
                logs = "\n".join(process.log_tail() for process in self._processes)
                raise RuntimeError(f"{self._replicas()} replicas after {READY_WITHIN_S} s\n{logs}")
            time.sleep(0.2)

    def _replicas(self) -> int:
        address = f"http://127.0.0.1:{self._ports['admin']}/api/v1/models"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                models = json.load(answer)["models"]
        except (OSError, urllib.error.URLError):
            return 0
        return sum(len(model["replicas"]) for model in models if model["id"] == MODEL)

    def _spawn(self, role: str, *flags: str) -> None:
        source = BENCH_DIR.parent / "src"
        path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
        number = len(self._processes)
        self._processes.append(
            PinnedProcess(
                role,
                [sys.executable, "-m", "helexa", role, *flags, "--log-level=warning"],
                core=None,
                log=self._directory / f"{number}-{role}.log",
                environment={"PYTHONPATH": path},
            )
        )

    def stop(self) -> None:
        """End all, the neurons first."""
        for process in reversed(self._processes):
            process.stop()


@contextlib.contextmanager
def running_fleet(routing: str, source: str) -> Iterator[Fleet]:
    """Start a fleet with these routing settings; end it whatever happens."""
    with tempfile.TemporaryDirectory(prefix="helexa-bench-") as directory:
        fleet = Fleet(routing, source, Path(directory))
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()


def lines_of(way: str, tally: Tally, plan: Plan) -> str:
    """Return the figures of one way of routing."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(tally.reasons.items()))
    least = tally.least_tokens(plan.conversations, REPLICAS)
    return (
        f"  {way:12} {tally.prompt_tokens:8,} prompt tokens, {tally.computed_tokens:8,} computed "
        f"(at least {least:,}); first token after {tally.mean_first_token_s:.3f} s (mean)\n"
        f"  {'':12} {tally.moved} moves cost {tally.moved_tokens:,}, forgotten were "
        f"{tally.forgotten_tokens:,}; {reasons}"
    )


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that a command line asks for."""
    names = [each.name for each in fields(Plan) if each.name != "tells_session"]
    return Plan(**{name: getattr(options, name) for name in names})


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold the conversations in each way and compare; returns 1 below the goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefix", description=__doc__)
    for each in fields(Plan):
        if each.name != "tells_session":
            flag = "--" + each.name.replace("_", "-")
            parser.add_argument(flag, type=int, default=each.default, help="default: %(default)s")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--source", default=MODEL, help="other weights for the model")
    options = parser.parse_args(arguments)
    plan = plan_of(options)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    print(f"prefix routing: {REPLICAS} x {options.source} (llama.cpp, 1 thread each), {plan}")
    tallies: dict[str, Tally] = {}
    for way in options.ways:
        told = replace(plan, tells_session=way == "session")
        with running_fleet(WAYS[way], options.source) as fleet:
            tallies[way] = asyncio.run(hold(told, fleet.url, MODEL))
        print(lines_of(way, tallies[way], plan), flush=True)
    if not {"round_robin", "default"} <= tallies.keys():
        return 0
    blind, own = tallies["round_robin"], tallies["default"]
    ratio = blind.computed_tokens / max(own.computed_tokens, 1)
    verdict = "met" if ratio >= GOAL else "NOT MET"
    print(f"  {ratio:.2f} x fewer prompt tokens computed (goal {GOAL:g}: {verdict})")
    print(f"  {blind.mean_first_token_s / own.mean_first_token_s:.2f} x sooner to the first token")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
