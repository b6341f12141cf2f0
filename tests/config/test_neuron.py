"""The settings of a neuron."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from helexa.config.neuron import NeuronConfig


def config(**values: object) -> NeuronConfig:
    return NeuronConfig.model_validate({"state_dir": "/state", "node_id": "rack2", **values})


def test_runtime_settings_have_defaults() -> None:
    """R1.36: port range, cache folder and timeouts."""
    made = config()
    assert made.engines.port_first < made.engines.port_last
    assert made.weights_folder == Path("/state/models")
    assert made.secrets_folder == Path("/state/secrets")
    assert made.timeouts.load_s > made.timeouts.connect_s > 0
    assert str(made.cortex_control_endpoint) == "ws://127.0.0.1:9040"
    assert str(made.api.socket) == "127.0.0.1:8060"


def test_the_test_engine_runs_only_where_it_is_named() -> None:
    assert config().engines.allowed == ("llamacpp", "vllm", "openai")
    assert config(engines={"allowed": ["echo"]}).engines.allowed == ("echo",)


def test_weights_may_be_read_from_the_download_folder_and_the_model_folders() -> None:
    made = config(weights_dir="/w", model_folders=["/a", "/b"])
    assert made.model_roots == (Path("/w"), Path("/a"), Path("/b"))


def test_what_helper_programs_get_is_never_shown() -> None:
    made = config(program_environment={"PIP_INDEX_URL": "https://me:hunter2@index"})
    assert made.program_environment
    assert "hunter2" not in made.model_dump_json() + repr(made)


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "a/b"])
def test_a_node_id_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="a neuron id has"):
        config(node_id=name)
