"""The bench of routing decisions runs, on the fleets that it says."""

import pytest

from bench import routing
from helexa.cortex.orchestrator.prefix import BLOCKS_MAX


def test_every_case_is_measured_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    routing.main(["--rounds", "1", "--repeats", "3"])
    told = capsys.readouterr().out
    for case in routing.CASES:
        assert case.title in told
    assert "hashing a prompt of 50 kB" in told


def test_fleets_have_what_their_titles_say() -> None:
    for case in routing.CASES:
        fleet = routing.fleet_of(case)
        assert {len(view.replicas) for view in fleet.models.values()} == {case.replicas}
        assert len(fleet.models) == case.models
    assert 0 < len(routing.BLOCKS) < BLOCKS_MAX


def test_a_prompt_that_is_known_in_parts_is_routed_by_that() -> None:
    fleet = routing.fleet_of(routing.CASES[1])
    router = routing.used_router(fleet)
    asked = routing.request_of("r", routing.REQUESTS["prompt of 50 kB"])
    assert len(router.memory.prefixes.holders(asked.prefix)) == 2
    assert routing.decision_of(fleet, router, asked)()
