"""Classes of work, and what an unknown one reads as."""

import msgspec
import pytest

from helexa.protocol.workload import WORKLOAD_OF_OPERATION, Operation, WorkloadClass


def test_every_operation_is_work_of_some_kind() -> None:
    assert set(WORKLOAD_OF_OPERATION) == set(Operation)


@pytest.mark.parametrize("workload_class", WorkloadClass)
def test_a_class_round_trips(workload_class: WorkloadClass) -> None:
    """R0.17, R0.18: WorkloadClass is one type, and JSON carries it."""
    encoded = msgspec.json.encode(workload_class)
    assert msgspec.json.decode(encoded, type=WorkloadClass) is workload_class


def test_chat_batch_is_an_alias_and_the_unknown_is_other() -> None:
    """R2.10: one name, one alias, and an open form."""
    assert WorkloadClass("ChatBatch") is WorkloadClass.CHAT_BULK
    assert WorkloadClass("Holography") is WorkloadClass.OTHER
    assert msgspec.json.decode(b'"Holography"', type=WorkloadClass) is WorkloadClass.OTHER
