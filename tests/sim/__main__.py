"""Lives through many simulated worlds and says what they were like: `make sim SEEDS=2000`.

A world that breaks a rule is shrunk to the fewest faults that still break it, kept in
tests/sim/seeds (where the tests find it from then on), and printed with the command that repeats
it. Exit status 1 if there was any.
"""

import argparse
import gc
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import msgspec

from tests.sim.faults import Plan, keep, plan_of, shrunk
from tests.sim.world import InvariantError, Outcome, Shape, run

SPEED_SHAPE = Shape(neurons=20, models=10, per_second=0.02)
SPEED_S = 1800.0


class Finding(msgspec.Struct):
    """A plan and what it broke."""

    plan: Plan
    because: str


def lived(plan: Plan) -> "Outcome | str":
    """Run a plan; return what it was like, or what it broke."""
    try:
        return run(plan)
    except Exception as error:  # noqa: BLE001  # a bug of any kind is a finding
        if isinstance(error, InvariantError):
            return str(error)[:400]
        return f"{type(error).__name__}: {error}\n" + traceback.format_exc(limit=-4)


def rule_of(outcome: "Outcome | str") -> str:
    """Return the rule that was broken, by which findings are told apart; empty for none."""
    return outcome.partition(":")[0] if isinstance(outcome, str) else ""


def live(seed: int) -> "Outcome | Finding":
    """Run one seed; what it breaks is shrunk at once."""
    plan = plan_of(seed)
    outcome = lived(plan)
    if isinstance(outcome, Outcome):
        return outcome
    smaller = shrunk(plan, lambda each: rule_of(lived(each)) == rule_of(outcome))
    return Finding(smaller, str(lived(smaller)))


def tell(outcomes: list[Outcome], wall_s: float, workers: int) -> None:
    """Print what the worlds were like."""
    simulated_s = sum(o.simulated_s for o in outcomes)
    requests: Counter[str] = Counter()
    for outcome in outcomes:
        requests.update(outcome.requests)
    converged = sorted(o.converged_s for o in outcomes)
    print(
        f"{len(outcomes)} worlds, {simulated_s / 3600:.1f} simulated hours in {wall_s:.1f} s "
        f"({workers} processes, {wall_s * workers / len(outcomes) * 1e3:.0f} ms each)\n"
        f"  {sum(o.events for o in outcomes)} events, {sum(o.turns for o in outcomes)} turns of "
        f"cortex, {sum(o.starts for o in outcomes)} engines started\n"
        f"  whole again after {statistics.median(converged):.0f} s (median), "
        f"{converged[int(len(converged) * 0.99)]:.0f} s (p99), {converged[-1]:.0f} s (longest)\n"
        f"  {sum(requests.values())} requests: "
        + ", ".join(f"{count} {what}" for what, count in requests.most_common())
    )


def tell_speed() -> None:
    """Print how fast time passes in a world of twenty neurons."""
    started_s = time.process_time()
    outcome = run(Plan(seed=1, calm_s=SPEED_S), SPEED_SHAPE)
    taken_s = time.process_time() - started_s
    print(f"  20 neurons: {outcome.simulated_s / 3600 / taken_s:.2f} simulated hours a second")


def repeat(plan: Plan, name: str) -> int:
    """Run one plan and say what becomes of it."""
    outcome = lived(plan)
    print(f"{name}: {outcome}")
    for fault in plan.faults:
        print(f"  {fault}")
    return 1 if isinstance(outcome, str) else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone, as it was drawn")
    parser.add_argument("--file", type=Path, help="a kept plan")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    gc.set_threshold(100_000, 50, 100)  # a world has few cycles, and much that is short-lived
    if options.file is not None:
        plan = msgspec.json.decode(options.file.read_bytes(), type=Plan)
        return repeat(plan, options.file.name)
    if options.seed is not None:
        return repeat(plan_of(options.seed), f"seed {options.seed}")
    seeds = range(options.first, options.first + options.seeds)
    started_s = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(options.workers) as pool:
        results = list(pool.imap_unordered(live, seeds, chunksize=16))
    findings = [each for each in results if isinstance(each, Finding)]
    outcomes = [each for each in results if isinstance(each, Outcome)]
    if outcomes:
        tell(outcomes, time.perf_counter() - started_s, options.workers)
        tell_speed()
    for finding in sorted(findings, key=lambda each: each.plan.seed):
        path = keep(finding.plan, finding.because)
        print(f"seed {finding.plan.seed} broke a rule: {finding.because}")
        print(f"  again: python -m tests.sim --file {path}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
