"""Measures helexa against nginx and against no gateway at all: `python -m bench.run`."""

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Figures, Measurer, median
from bench.profiler import MISSING, start_profiler
from bench.report import EXPLANATION, GOALS, goals_table, table
from bench.scenarios import QUICK, SCENARIOS, Kind, Scenario, Timing
from bench.targets import Cores, Helexa, Mock, Nginx, Target, TargetUnavailableError
from bench.tools import BENCH_DIR, ToolError, Tools, build_tools

TARGET_NAMES = ("direct", "nginx", "helexa")
WANTED_DESCRIPTORS = 32768
RESULTS_DIR = BENCH_DIR / "results"
NOISE_LIMIT = 0.05  # beyond this share of the machine used by others, figures are doubtful


@dataclass(slots=True)
class Session:
    """What one call of the bench has measured so far, and what went wrong."""

    runs: dict[str, dict[str, list[Figures]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    problems: list[str] = field(default_factory=list)

    def medians(self) -> dict[str, dict[str, Figures]]:
        """Return the medians by scenario and target."""
        return {
            scenario: {target: median(runs) for target, runs in targets.items()}
            for scenario, targets in self.runs.items()
        }

    def tell(self, problem: str) -> None:
        """Keep a problem for the record, and say it now."""
        self.problems.append(problem)
        print(f"! {problem}", file=sys.stderr, flush=True)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    allowed = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does it all run?")
    parser.add_argument("--rounds", type=int, help="rounds over all targets (3; quick: 1)")
    parser.add_argument("--duration", type=float, help="seconds measured in each run (4)")
    parser.add_argument(
        "--only",
        action="append",
        metavar="SCENARIO",
        choices=[scenario.name for scenario in SCENARIOS],
        help=f"one of {', '.join(scenario.name for scenario in SCENARIOS)}; may be repeated",
    )
    parser.add_argument("--targets", nargs="+", choices=TARGET_NAMES, default=TARGET_NAMES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--profile", action="store_true", help="one more run of each, profiled")
    parser.add_argument("--gateway-core", type=int, default=allowed[-1])
    parser.add_argument("--other-core", type=int, default=allowed[0])
    return parser.parse_args(arguments)


def raise_file_limit() -> int:
    """Allow as many open files as 5,000 streams through two processes need."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # only root may raise the hard limit
        hard = max(hard, WANTED_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def running_targets(
    names: Sequence[str], tools: Tools, cores: Cores, directory: Path, session: Session
) -> Iterator[tuple[Mock, list[Target]]]:
    """Start the mock and each target that can be started; end them all."""
    descriptors = raise_file_limit()
    with contextlib.ExitStack() as stack:
        mock = Mock(tools.mock, cores, directory)
        stack.callback(mock.stop)
        mock.start()
        candidates: list[Target] = [
            mock,
            Nginx(mock, cores, directory, descriptors),
            Helexa(mock, cores, directory),
        ]
        up: list[Target] = []
        for target in candidates:
            if target.name not in names:
                continue
            stack.callback(target.stop)
            try:
                target.start()
                up.append(target)
            except TargetUnavailableError as unavailable:
                session.tell(f"{target.name} is left out: {unavailable}")
                target.stop()
        yield mock, up


def is_up(session: Session, target: Target) -> bool:
    """Tell whether a target runs; one that has ended is started anew."""
    for process in (target.gateway, target.neuron):
        if process is not None and not process.is_running():
            session.tell(f"{process.name} has ended: {process.log_tail()}")
            target.stop()
            try:
                target.start()
            except TargetUnavailableError as unavailable:
                session.tell(f"{target.name} did not start again: {unavailable}")
                return False
    return True


def measure_once(
    session: Session, measurer: Measurer, scenario: Scenario, target: Target, timing: Timing
) -> None:
    """Add one run to the session, unless the target cannot be brought up."""
    if not is_up(session, target):
        return
    try:
        figures = measurer.measure(scenario, target, timing)
        session.runs[scenario.name][target.name].append(figures)
        if figures.faults:
            session.tell(f"{scenario.name}, {target.name}: {figures.faults:.0f} faults")
        if figures.not_released:
            session.tell(f"{scenario.name}, {target.name}: abandoned streams were not released")
    except ToolError as error:
        session.tell(f"{scenario.name}, {target.name}: {error}")


def measure_all(
    session: Session,
    measurer: Measurer,
    targets: Sequence[Target],
    chosen: Sequence[Scenario],
    options: argparse.Namespace,
) -> None:
    """Run every scenario in rounds: one run of each target in turn, then all again."""
    timing = QUICK if options.quick else Timing()
    if options.duration is not None:
        timing = Timing(options.duration, timing.warmup_s, timing.hold_s)
    rounds = options.rounds or (1 if options.quick else 3)
    for target in targets:
        measurer.remember_idle_memory(target.gateway)
    for scenario in chosen:
        # Nothing stands between the load tool and the mock, so there is no memory to read.
        taking_part = [
            target
            for target in targets
            if scenario.kind is not Kind.HOLD or target.gateway is not None
        ]
        for _ in range(rounds):
            for target in taking_part:
                measure_once(session, measurer, scenario, target, timing)
        medians = session.medians().get(scenario.name)
        if medians:
            print(table(scenario, medians), end="\n\n", flush=True)
        if options.profile:
            profile(session, measurer, targets, scenario, timing)


def profile(
    session: Session,
    measurer: Measurer,
    targets: Sequence[Target],
    scenario: Scenario,
    timing: Timing,
) -> None:
    """Run a scenario once more on each gateway with a profiler attached; not counted."""
    for target in targets:
        if target.gateway is None:
            continue
        stem = RESULTS_DIR / f"profile-{target.name}-{scenario.name}"
        process_id = target.gateway.busiest_process_id()
        profiler = start_profiler(process_id, timing.duration_s, stem)
        if profiler is None:
            session.tell(MISSING)
            return
        try:
            measurer.measure(scenario, target, timing)
            profiler.wait(60)
        finally:
            profiler.kill()
            profiler.wait()
        print(f"  profile of {target.name}: {stem}.*")


def write_json(file: Path, session: Session, options: argparse.Namespace) -> None:
    """Write every run, the medians and the goals."""
    medians = session.medians()
    document = {
        "machine": {"processor": platform.machine(), "kernel": platform.release()},
        "cores": {"gateway": options.gateway_core, "rest": options.other_core},
        "medians": {
            scenario: {target: figures.as_dict() for target, figures in targets.items()}
            for scenario, targets in medians.items()
        },
        "runs": {
            scenario: {target: [run.as_dict() for run in runs] for target, runs in targets.items()}
            for scenario, targets in session.runs.items()
        },
        "goals": [
            {"title": goal.title, "value": goal.value(medians), "met": goal.is_met(medians)}
            for goal in GOALS
        ],
        "problems": session.problems,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def noise_line(session: Session) -> str:
    """Return one line on how quiet the machine was."""
    runs = [run for targets in session.runs.values() for found in targets.values() for run in found]
    if not runs:
        return "nothing was measured"
    shares = [run.stolen + run.foreign for run in runs]
    text = (
        f"noise: the hypervisor and other processes took {statistics.median(shares):.1%} of both "
        f"cores (median), {max(shares):.1%} at worst"
    )
    if max(shares) > NOISE_LIMIT:
        text += "; not quiet: trust figures per CPU-second more than those by the wall clock"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, start, measure, report; returns 1 when a target was left out or had faults."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children are ended too
    cores = Cores(gateway=options.gateway_core, rest=options.other_core)
    session = Session()
    if cores.gateway == cores.rest:
        session.tell("only one core: the gateway shares it with the load tool and the mock")
    chosen = [item for item in SCENARIOS if not options.only or item.name in options.only]
    tools = build_tools()
    with (
        tempfile.TemporaryDirectory(prefix="helexa-bench-") as directory,
        running_targets(options.targets, tools, cores, Path(directory), session) as (mock, up),
    ):
        measure_all(session, Measurer(tools, mock, cores), up, chosen, options)
    print(goals_table(session.medians()))
    print(f"\n{EXPLANATION}\n{noise_line(session)}")
    if session.problems:
        print(f"{len(session.problems)} problem(s), told above where they happened")
    if options.json is not None:
        write_json(options.json, session, options)
    return 1 if session.problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ToolError, TargetUnavailableError) as error:
        sys.exit(f"bench: {error}")
