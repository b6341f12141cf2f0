"""Every event is a value that the fleet knows how to take."""

import dataclasses
from typing import get_args

from helexa.cortex.orchestrator.events import Event
from tests.fakes.fleet import fleet


def test_the_fleet_takes_every_kind_of_event() -> None:
    assert set(get_args(Event)) == set(fleet()._handlers)


def test_events_are_frozen() -> None:
    for kind in get_args(Event):
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
