"""A snapshot cannot be changed by who reads it."""

import dataclasses

import pytest

from helexa.cortex.orchestrator.snapshot import EMPTY, Instance, frozen, thawed
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import fleet, joined, model, register, status


def test_every_part_of_a_snapshot_is_read_only() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    snapshot = state.snapshot(0.0)
    for mapping in (snapshot.models, snapshot.names, snapshot.neurons, snapshot.desired):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.models["m"].because = "x"  # type: ignore[misc]


def test_an_old_snapshot_stays_what_it_was() -> None:
    state = fleet(model())
    before = state.snapshot(0.0)
    state.apply([joined(1, register("n1", status(model())))], 1.0)
    assert before.models["m"].replicas == ()
    assert state.snapshot(1.0).version > before.version > EMPTY.version


def test_a_model_that_was_never_reported_is_unloaded() -> None:
    assert Instance().state is ModelState.UNLOADED


def test_frozen_shows_the_mapping_without_copying_it() -> None:
    assert frozen({"a": 1}) == {"a": 1}


def test_a_thawed_mapping_is_a_copy() -> None:
    for mapping in (frozen({"a": 1}), {"a": 1}):
        copy = thawed(mapping)
        copy["b"] = 2
        assert mapping == {"a": 1}
