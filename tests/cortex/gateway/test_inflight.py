"""Counts of what was sent and has not ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.gateway.inflight import Inflight
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId, NeuronId
from tests.fakes.fleet import CHAT

N, M = NeuronId("n"), ModelId("m")


def replica(neuron: str) -> Replica:
    return Replica(M, NeuronId(neuron), epoch=1, capability=CHAT)


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60))
def test_counts_are_what_was_added_less_what_was_removed(steps: list[tuple[str, bool]]) -> None:
    inflight, expected = Inflight(), {"a": 0, "b": 0}
    for name, add in steps:
        if add:
            inflight.add(NeuronId(name), M)
            expected[name] += 1
        elif expected[name]:
            inflight.remove(NeuronId(name), M)
            expected[name] -= 1
    assert {name: inflight.on(replica(name)) for name in "ab"} == expected
    assert inflight.total == sum(expected.values())
    assert inflight.by_model() == ({M: inflight.total} if inflight.total else {})


def test_removing_what_was_not_added_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="more requests ended"):
        Inflight().remove(N, M)


def test_an_unused_replica_takes_no_memory() -> None:
    inflight = Inflight()
    inflight.add(N, M)
    inflight.remove(N, M)
    assert inflight._counts == {}


def test_who_comes_and_who_leaves_is_told_how_many_there_are_with_it() -> None:
    inflight = Inflight()
    assert [inflight.add(N, M), inflight.add(N, M)] == [1, 2]
    assert [inflight.remove(N, M), inflight.remove(N, M)] == [2, 1]
