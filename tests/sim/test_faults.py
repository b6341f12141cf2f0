"""Plans: drawn, shrunk, written down."""

import msgspec

from tests.sim.faults import KINDS, Fault, Plan, kept_plans, plan_of, shrunk


def test_a_seed_draws_the_same_plan_each_time() -> None:
    assert plan_of(5) == plan_of(5)
    assert plan_of(5) != plan_of(6)


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault.kind for seed in range(200) for fault in plan_of(seed).faults}
    assert drawn == set(KINDS)


def test_a_plan_is_shrunk_to_the_faults_that_it_needs() -> None:
    faults = tuple(Fault(at_s=float(n), kind="cut", target=n) for n in range(40))

    def fails(plan: Plan) -> bool:
        return {7, 31} <= {fault.target for fault in plan.faults}

    assert [f.target for f in shrunk(Plan(seed=1, faults=faults), fails).faults] == [7, 31]


def test_a_plan_that_fails_without_faults_is_shrunk_to_none() -> None:
    faults = tuple(Fault(at_s=float(n), kind="cut") for n in range(9))
    assert shrunk(Plan(seed=1, faults=faults), lambda _plan: True).faults == ()


def test_a_kept_plan_says_what_it_found() -> None:
    for name, plan in kept_plans().items():
        assert plan.because, name
        assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
