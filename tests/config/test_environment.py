"""Variables as settings."""

from typing import Any

import pytest

from helexa.config.cortex import CortexConfig
from helexa.config.environment import read_environment
from helexa.config.neuron import NeuronConfig


def read(environ: dict[str, str], role: Any = CortexConfig, other: Any = NeuronConfig) -> Any:
    return read_environment(environ, role, [other])


@pytest.mark.parametrize("name", ["HELEXA_GATEWAY_SOCKET", "HELEXA_GATEWAY__SOCKET"])
def test_a_setting_has_a_short_and_a_grouped_name(name: str) -> None:
    layer = read({name: ":80"})
    assert layer.tree == {"gateway": {"socket": ":80"}}
    assert layer.variables == {("gateway", "socket"): name}


def test_names_with_underscores_of_their_own_are_found() -> None:
    layer = read({"HELEXA_CONTROL_PLANE_SOCKET": "off", "HELEXA_LOG_LEVEL": "debug"})
    assert layer.tree == {"control_plane": {"socket": "off"}, "log": {"level": "debug"}}


def test_lists_and_tables_are_written_with_commas_or_as_json() -> None:
    layer = read(
        {
            "HELEXA_MODEL_FOLDERS": "/a, /b,",
            "HELEXA_LABELS": "rack=2, zone=east",
            "HELEXA_ENGINES_BINARIES": '{"llama-server": "/x"}',
            "HELEXA_ENGINES_ALLOWED": '["echo"]',
        },
        NeuronConfig,
        CortexConfig,
    )
    assert layer.tree["model_folders"] == ["/a", "/b"]
    assert layer.tree["labels"] == {"rack": "2", "zone": "east"}
    assert layer.tree["engines"] == {"allowed": ["echo"], "binaries": {"llama-server": "/x"}}
    assert not layer.problems


def test_models_can_be_given_as_json() -> None:
    assert read({"HELEXA_MODELS": '[{"id": "a"}]'}).tree == {"models": [{"id": "a"}]}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("HELEXA_MODELS", "a,b", "as JSON"),
        ("HELEXA_MODELS", "[{", "is not JSON"),
        ("HELEXA_GATEWAY_SOKET", "x", "did you mean HELEXA_GATEWAY_SOCKET?"),
        ("HELEXA_WHATEVER_ELSE_THERE_IS", "x", "unknown variable"),
    ],
)
def test_what_cannot_be_used_is_a_problem(name: str, text: str, said: str) -> None:
    layer = read({name: text})
    assert [problem.where for problem in layer.problems] == [name]
    assert said in str(layer.problems[0])
    assert layer.tree == {}


def test_a_table_without_equals_signs_is_a_problem() -> None:
    layer = read({"HELEXA_LABELS": "rack"}, NeuronConfig, CortexConfig)
    assert "name=value" in str(layer.problems[0])


def test_the_same_setting_under_both_names_is_a_problem() -> None:
    layer = read({"HELEXA_LOG_LEVEL": "info", "HELEXA_LOG__LEVEL": "debug"})
    assert "set by HELEXA_LOG_LEVEL too" in str(layer.problems[0])


def test_variables_of_the_other_role_other_programs_and_empty_ones_are_let_pass() -> None:
    environ = {"HELEXA_NODE_ID": "n", "HELEXA_CONFIG": "f", "HELEXA_LOG_LEVEL": "", "PATH": "/"}
    assert read(environ) == read({})
