"""Marks as the admin API sets them."""

from helexa.cortex.admin.marks import cordoned, drained, marking, uncordoned, unknown_neuron
from helexa.cortex.admin.writes import WriteBody
from helexa.cortex.orchestrator.events import NeuronMarked
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId
from tests.fakes.fleet import fleet, joined, register

N1 = NeuronId("n1")


def test_each_write_sets_both_marks() -> None:
    state = fleet()
    state.apply([joined(1, register("n1"))], 0.0)
    for marks_of, expected in ((cordoned, (True, False)), (drained, (True, True)),
                               (cordoned, (True, True)), (uncordoned, (False, False))):  # fmt: skip
        change = marking(lambda: state.snapshot(0.0), marks_of)
        outcome = change({"id": "n1"}, WriteBody(cause="why"))
        assert not isinstance(outcome, Refusal)
        told, events = outcome
        assert (told["cordoned"], told["draining"]) == expected
        assert events == [NeuronMarked(N1, *expected, "why")]
        state.apply(events, 0.0)


def test_an_unknown_neuron_is_refused_with_those_that_are_there() -> None:
    state = fleet()
    state.apply([joined(1, register("n1"))], 0.0)
    outcome = marking(lambda: state.snapshot(0.0), drained)({"id": "n2"}, WriteBody())
    assert isinstance(outcome, Refusal)
    assert outcome.code is ErrorCode.NOT_FOUND
    assert outcome.because == "no neuron is called 'n2'; known are: n1"


def test_a_long_list_of_neurons_is_cut() -> None:
    state = fleet()
    state.apply([joined(i, register(f"n{i:02}")) for i in range(30)], 0.0)
    because = unknown_neuron("x" * 1000, state.snapshot(0.0).neurons).because
    assert because.endswith("n19 and 10 more")
    assert len(because) < 300
