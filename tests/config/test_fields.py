"""Settings, read off the models."""

import pytest
from pydantic import BaseModel

from helexa.config.cortex import CortexConfig, ModelEntry
from helexa.config.environment import variable_name
from helexa.config.fields import Kind, group_at, holds_many, settings_of, type_text
from helexa.config.neuron import NeuronConfig

ROLES = (CortexConfig, NeuronConfig)


@pytest.mark.parametrize("role", ROLES)
def test_every_setting_has_a_sentence_and_a_variable_of_its_own(role: type[BaseModel]) -> None:
    settings = list(settings_of(role))
    assert all(setting.text.endswith((".", "…")) for setting in settings if not setting.entry)
    names = [variable_name(setting) for setting in settings]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("role", ROLES)
def test_every_time_and_size_says_its_unit_in_its_name(role: type[BaseModel]) -> None:
    for setting in settings_of(role):
        # Factors, weights and shares have no unit.
        if type_text(setting) == "number" and "weights" not in setting.path:
            unitless = ("_factor", "_utilisation")
            assert setting.path[-1].endswith(("_s", "_s_max", *unitless)), setting.name


def test_shapes_are_told_apart() -> None:
    kinds = {s.name: s.kind for role in ROLES for s in settings_of(role)}
    assert kinds["models"] is Kind.TABLES
    assert kinds["state_dir"] is kinds["auth.keys_file"] is Kind.PATH
    assert kinds["model_folders"] is Kind.PATHS
    assert kinds["engines.allowed"] is Kind.LIST
    assert kinds["labels"] is Kind.MAP
    assert kinds["engines.binaries"] is Kind.PATH_MAP
    assert kinds["gateway.socket"] is kinds["memory_budget_bytes"] is Kind.SCALAR


def test_groups_are_found_by_path_through_lists_too() -> None:
    assert group_at(CortexConfig, ()) is CortexConfig
    assert group_at(CortexConfig, ("models", 3)) is ModelEntry
    assert group_at(CortexConfig, ("gateway", "socket")) is None
    assert group_at(CortexConfig, ("nothing",)) is None


def test_what_holds_many_values_is_known() -> None:
    assert holds_many(CortexConfig, ("models", 0, "options"))
    assert holds_many(CortexConfig, ("gateway", "cors_origins"))
    assert not holds_many(CortexConfig, ("gateway", "socket"))
    assert not holds_many(CortexConfig, ("nothing", "there"))
