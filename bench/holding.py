"""How long a held request waits beyond its model's load: `python -m bench.holding`.

A real cortex, a real neuron and an echo engine that takes its time to start. Again and again a
request for the model comes while nothing runs, is held, and is answered; then the model is
unloaded. Told apart by the monotonic clock, which all processes of one machine share:

- *before*: from sending the request to the birth of the engine's process, which the kernel tells
  up to 10 ms too early
- *load*: from there until the engine says that it is ready, which is its own affair
- *after*: from there to the first token's bytes: the neuron notices, tries it with one token and
  reports it; cortex sends it the request; the engine answers

Goal: *after* is at most 50 ms (p99), however long the load took.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import PinnedProcess, free_port
from bench.tools import BENCH_DIR

GOAL_MS = 50.0
LOADS_S = (0.2, 1.0, 3.0)
"""How long the engine takes beside the start of its process: who looks for it ever less often is
the later, the longer it took."""
REPEATS = 20
QUICK_REPEATS = 3
LIMIT_S = 30.0
CONFIG = """\
[gateway]
socket = "127.0.0.1:{gateway}"

[control_plane]
socket = "127.0.0.1:{control}"

[admin]
socket = "127.0.0.1:{admin}"
"""
MODEL = """
[[models]]
id = "{model}"
engine = "echo"
min_replicas = 0
options = {{ start_delay_ms = {delay_ms} }}
"""
NEURON = """\
[engines]
allowed = ["echo"]
port_first = {engine}
port_last = {engine}
"""


@dataclass(frozen=True, slots=True)
class Held:
    """One request that was held, in seconds."""

    before_s: float
    load_s: float
    after_s: float


class Stack:
    """One cortex and one neuron, which has a single port for its engine."""

    def __init__(self, directory: Path, models: dict[str, float]) -> None:
        names = ("gateway", "control", "admin", "engine", "api")
        self._ports = {name: free_port() for name in names}
        text = CONFIG.format(**self._ports)
        for model, load_s in models.items():
            text += MODEL.format(model=model, delay_ms=round(load_s * 1e3))
        (directory / "cortex.toml").write_text(text)
        (directory / "neuron.toml").write_text(NEURON.format(**self._ports))
        self._directory = directory
        self._processes: list[PinnedProcess] = []

    def start(self) -> None:
        """Start both and wait until the neuron has joined."""
        control = f"ws://127.0.0.1:{self._ports['control']}"
        self._spawn("cortex")
        self._spawn(
            "neuron",
            "--node-id=n1",
            f"--cortex-control-endpoint={control}",
            f"--api-socket=127.0.0.1:{self._ports['api']}",
        )
        self._until("the neuron to join", self._joined)

    def stop(self) -> None:
        """End both, the neuron first."""
        for process in reversed(self._processes):
            process.stop()

    def _spawn(self, role: str, *flags: str) -> None:
        folder = self._directory
        files = (f"--config={folder / role}.toml", f"--state-dir={folder / role}")
        command = [sys.executable, "-m", "helexa", role, *files, *flags, "--log-level=warning"]
        path = os.pathsep.join(
            filter(None, [str(BENCH_DIR.parent / "src"), os.environ.get("PYTHONPATH")])
        )
        log, environment = folder / f"{role}.log", {"PYTHONPATH": path}
        self._processes.append(
            PinnedProcess(role, command, core=None, log=log, environment=environment)
        )

    def _joined(self) -> bool:
        neurons = self._json("admin", "GET", "/api/v1/neurons").get("neurons", [])
        return any(neuron["state"] == "connected" for neuron in neurons)

    def _until(self, what: str, condition: Any) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > deadline_s:
                logs = "\n".join(process.log_tail() for process in self._processes)
                raise RuntimeError(f"{what} took more than {LIMIT_S:g} s\n{logs}")
            time.sleep(0.02)

    def _json(self, server: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[server], timeout=LIMIT_S)
        raw = None if body is None else json.dumps(body)
        headers = {"content-type": "application/json"} if raw is not None else {}
        try:
            connection.request(method, path, raw, headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except OSError:
            return {}
        finally:
            connection.close()
        return answer

    def held(self, model: str) -> Held:
        """Ask for a model that is not loaded, and unload it again; return what was waited for."""
        held = self._ask(model)
        self._unload(model)
        return held

    def _ask(self, model: str) -> Held:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["gateway"], timeout=60)
        messages = [{"role": "user", "content": "go on"}]
        body = json.dumps({"model": model, "messages": messages, "stream": True, "max_tokens": 8})
        sent_s = time.monotonic()
        connection.request(
            "POST", "/v1/chat/completions", body, {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        while not (line := answer.readline()).startswith(b"data: "):
            if not line:
                raise RuntimeError(f"{model}: status {answer.status}, and no token")
        first_s = time.monotonic()
        answer.read()
        connection.close()
        told = self._json("engine", "GET", "/stats")
        born_s, ready_s = birth_s(told["process_id"]), told["ready_s"]
        return Held(born_s - sent_s, ready_s - born_s, first_s - ready_s)

    def _unload(self, model: str) -> None:
        path = "/api/v1/models/unload"
        self._json("admin", "POST", path, {"model": model})
        self._until(f"{model} to leave", lambda: self._states(model) == {"unloaded"})

    def _states(self, model: str) -> set[str]:
        models = self._json("admin", "GET", "/api/v1/models").get("models", [])
        return {s for each in models if each["id"] == model for s in each["neurons"].values()}


def birth_s(process_id: int) -> float:
    """Return when a process was born, in monotonic seconds, up to one kernel tick too early."""
    stat = Path(f"/proc/{process_id}/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - asleep_s


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of all lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def line_of(what: str, seconds: Sequence[float]) -> str:
    """Return one line of figures, in milliseconds."""
    found = (statistics.median(seconds), percentile(seconds, 0.99), max(seconds))
    p50, p99, most = (each * 1e3 for each in found)
    return f"  {what:26} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   max {most:7.1f} ms"


def measure(loads_s: Sequence[float], repeats: int) -> list[list[Held]]:
    """Hold that many requests for a model of each load time; return what each of them waited."""
    models = {f"slow-{number}": load_s for number, load_s in enumerate(loads_s)}
    with tempfile.TemporaryDirectory(prefix="helexa-bench-") as directory:
        stack = Stack(Path(directory), models)
        try:
            stack.start()
            return [[stack.held(model) for _ in range(repeats)] for model in models]
        finally:
            stack.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold requests for engines that start slowly; print what they waited beside the load."""
    parser = argparse.ArgumentParser(prog="python -m bench.holding", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    options = parser.parse_args(arguments)
    repeats = QUICK_REPEATS if options.quick else REPEATS
    print(f"held requests: {repeats} for each of {len(LOADS_S)} models that load slowly")
    rows = measure(LOADS_S, repeats)
    for load_s, row in zip(LOADS_S, rows, strict=True):
        print(line_of(f"after, engine up in {load_s:g} s", [held.after_s for held in row]))
    every = [held for row in rows for held in row]
    print(line_of("before", [held.before_s for held in every]))
    print(line_of("after", [held.after_s for held in every]))
    met = percentile([held.after_s for held in every], 0.99) * 1e3 <= GOAL_MS
    print(f"  goal: at most {GOAL_MS:g} ms after, at p99: {'met' if met else 'NOT MET'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
