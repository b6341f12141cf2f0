"""The events: values that nobody can change, each with its cause."""

import dataclasses
from typing import get_args

import pytest

from helexa.neuron.registry import events
from helexa.protocol.ids import ModelId

KINDS = get_args(events.Event)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_frozen_and_carries_its_cause(kind):
    names = {field.name for field in dataclasses.fields(kind)}
    assert "cause" in names
    assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize(
    "kind",
    # A look at a header is no attempt at anything: it names the source it saw.
    [
        k
        for k in KINDS
        if k in (*get_args(events.WeightsEvent), *get_args(events.EngineEvent))
        and k is not events.WeightsSeen
    ],
    ids=lambda kind: kind.__name__,
)
def test_news_of_the_shell_name_their_attempt(kind):
    names = {field.name for field in dataclasses.fields(kind)}
    assert {"model_id", "attempt"} <= names


def test_events_compare_by_value():
    one = events.Drained(model_id=ModelId("m"), attempt=1)
    assert one == events.Drained(model_id=ModelId("m"), attempt=1)
    assert one != events.Drained(model_id=ModelId("m"), attempt=2)
