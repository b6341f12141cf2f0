"""Runs one scenario against one target and turns what is seen into figures."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from bench.processes import Machine, PinnedProcess
from bench.scenarios import Kind, Scenario, Timing
from bench.targets import Cores, Mock, Target
from bench.tools import LoadRun, Tools, run_load

US_PER_S = 1_000_000.0
FREE_TIMEOUT_S = 30.0
KIB_PER_MIB = 1024.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run showed; None where it does not apply. A request may be a whole stream."""

    faults: float = 0.0  # requests refused, cut short, broken, late beyond patience, never sent
    requests_per_s: float | None = None  # by the clock on the wall
    events_per_s: float | None = None
    requests_per_cpu_s: float | None = None  # per second of CPU time of the gateway process
    events_per_cpu_s: float | None = None
    latency_p50_us: float | None = None
    latency_p99_us: float | None = None
    first_event_p50_us: float | None = None
    relay_p50_us: float | None = None
    relay_p99_us: float | None = None
    gateway_us_per_request: float | None = None
    gateway_us_per_event: float | None = None
    neuron_us_per_request: float | None = None
    neuron_us_per_event: float | None = None
    gateway_busy: float | None = None  # share of its core that the gateway used
    held: float | None = None
    gateway_rss_mib: float | None = None
    neuron_rss_mib: float | None = None
    gateway_kib_per_stream: float | None = None  # growth since the gateway was fresh
    not_released: float | None = None  # streams the backend still served 30 s after clients left
    stolen: float = 0.0  # share of the machine that the hypervisor gave to others
    foreign: float = 0.0  # share of the machine used by processes that are not ours

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures by name."""
        return asdict(self)


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure over the runs that have it; faults add up."""
    values: dict[str, float] = {}
    for field in fields(Figures):
        present = [value for run in runs if (value := getattr(run, field.name)) is not None]
        if present:
            values[field.name] = statistics.median(present)
    values["faults"] = sum(run.faults for run in runs)
    return Figures(**values)


class Measurer:
    """Measures targets with the same tools on the same cores."""

    def __init__(self, tools: Tools, mock: Mock, cores: Cores) -> None:
        self._tools = tools
        self._mock = mock
        self._cores = cores
        self._machine = Machine()
        self._idle_rss_mib: dict[int, float] = {}  # by process id

    def remember_idle_memory(self, process: PinnedProcess | None) -> float | None:
        """Return the memory a process had when it was first seen, best before any load."""
        if process is None:
            return None
        return self._idle_rss_mib.setdefault(process.process_id, process.rss_mib())

    def measure(self, scenario: Scenario, target: Target, timing: Timing) -> Figures:
        """Send the scenario's load to the target once."""
        memory: dict[str, float | None] = {}
        idle_rss_mib = self.remember_idle_memory(target.gateway)

        def read_memory() -> None:
            time.sleep(timing.hold_s / 2)
            memory["gateway_rss_mib"] = _rss_mib(target.gateway)
            memory["neuron_rss_mib"] = _rss_mib(target.neuron)

        watched = [target.gateway, target.neuron, self._mock.process]
        busy_s, stolen_s = self._machine.busy_and_stolen_s()
        cpu_s = [_cpu_s(process) for process in watched]
        run = run_load(
            [str(self._tools.load), f"--port={target.port}", *scenario.arguments(timing)],
            core=self._cores.rest,
            on_holding=read_memory if scenario.kind is Kind.HOLD else None,
        )
        spent_s = [_cpu_s(process) - was for process, was in zip(watched, cpu_s, strict=True)]
        busy_now_s, stolen_now_s = self._machine.busy_and_stolen_s()
        both_cores_s = 2 * run.wall_s
        ours_s = sum(spent_s) + run.cpu_s
        values: dict[str, float | None] = {
            "stolen": (stolen_now_s - stolen_s) / both_cores_s,
            "foreign": max(0.0, busy_now_s - busy_s - ours_s) / both_cores_s,
            "faults": _faults(run, scenario),
        }
        if scenario.kind is Kind.HOLD:
            values |= _memory_figures(run, memory, idle_rss_mib)
            values["not_released"] = float(self._wait_until_released())
        else:
            values |= _speed_figures(run, scenario.kind)
            values |= _cost_figures(run, scenario.kind, target, spent_s)
        return Figures(**{name: value for name, value in values.items() if value is not None})

    def _wait_until_released(self) -> int:
        """Wait until the backend has no open stream; returns how many stayed."""
        deadline_s = time.monotonic() + FREE_TIMEOUT_S
        while (count := self._mock.open_streams()) > 0 and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return count


def _cpu_s(process: PinnedProcess | None) -> float:
    return 0.0 if process is None else process.cpu_s()


def _rss_mib(process: PinnedProcess | None) -> float | None:
    return None if process is None else process.rss_mib()


def _faults(run: LoadRun, scenario: Scenario) -> float:
    """Count requests that did not end as they should; unfinished ones count as incomplete."""
    report = run.report
    faults = report["refused"] + report["incomplete"] + report["broken"] + report["unsent"]
    if scenario.kind is Kind.HOLD:
        faults = max(faults, scenario.connections - report["holding"])
    return float(faults)


def _speed_figures(run: LoadRun, kind: Kind) -> dict[str, float | None]:
    """Return what the load tool saw: rates by the wall clock, and latencies."""
    report = run.report
    figures: dict[str, float | None] = {
        "requests_per_s": report["requests_per_s"],
        "latency_p50_us": report["latency_us"]["p50"],
        "latency_p99_us": report["latency_us"]["p99"],
    }
    if kind is Kind.STREAMS:
        figures["events_per_s"] = report["events_per_s"]
        figures["first_event_p50_us"] = report["first_event_us"]["p50"]
        figures["relay_p50_us"] = report["relay_us"]["p50"]
        figures["relay_p99_us"] = report["relay_us"]["p99"]
    return figures


def _cost_figures(
    run: LoadRun, kind: Kind, target: Target, spent_s: Sequence[float]
) -> dict[str, float | None]:
    """Return CPU time per request and event, over the whole run with warm-up and end."""
    counts = {"request": run.report["complete"]}
    if kind is Kind.STREAMS:
        counts["event"] = run.report["events"]
    figures: dict[str, float | None] = {}
    for role, process, cpu_s in zip(
        ("gateway", "neuron"), (target.gateway, target.neuron), spent_s, strict=False
    ):
        if process is None:
            continue
        for what, count in counts.items():
            if count == 0 or cpu_s <= 0.0:
                continue
            figures[f"{role}_us_per_{what}"] = US_PER_S * cpu_s / count
            if role == "gateway":
                figures[f"{what}s_per_cpu_s"] = count / cpu_s
    if target.gateway is not None:
        figures["gateway_busy"] = spent_s[0] / run.wall_s
    return figures


def _memory_figures(
    run: LoadRun, memory: dict[str, float | None], idle_rss_mib: float | None
) -> dict[str, float | None]:
    """Return the memory read while the streams were held."""
    figures = dict(memory)
    held = run.report["holding"]
    figures["held"] = held
    holding_rss_mib = memory.get("gateway_rss_mib")
    if holding_rss_mib is not None and idle_rss_mib is not None and held > 0:
        grown_kib = (holding_rss_mib - idle_rss_mib) * KIB_PER_MIB
        figures["gateway_kib_per_stream"] = grown_kib / held
    return figures
