"""The heuristics that helexa comes with keep the contract that every other one must keep."""

from helexa.cortex.orchestrator.strategy import DEFAULT_STRATEGY
from tests.conformance.provisioner_contract import check_strategy


def test_the_default_keeps_the_contract() -> None:
    check_strategy(DEFAULT_STRATEGY)
