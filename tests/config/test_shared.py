"""Types that settings are made of."""

import pytest
from pydantic import ValidationError

from helexa.config.cortex import CortexConfig
from helexa.config.neuron import NeuronConfig
from helexa.config.shared import LogSettings, SharedSettings
from helexa.util.logging import LEVELS


def test_both_roles_share_sockets_mesh_logging_and_metrics() -> None:
    """R0.12, R0.13: typed configs, with one spelling of what both have."""
    shared = set(SharedSettings.model_fields)
    assert {"state_dir", "log", "metrics", "mesh"} <= shared
    for model in (CortexConfig, NeuronConfig):
        assert issubclass(model, SharedSettings)
    kinds = {type(CortexConfig(state_dir="/x").gateway.socket),
             type(NeuronConfig(state_dir="/x", node_id="n").api.socket)}  # fmt: skip
    assert len(kinds) == 1


def test_log_levels_are_those_of_the_logger() -> None:
    assert [LogSettings(level=level).level for level in LEVELS] == list(LEVELS)


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    config = CortexConfig(state_dir="/x")
    with pytest.raises(ValidationError, match="frozen"):
        config.spec = None


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1KiB", 1024), ("24 GiB", 24 * 2**30), ("1.5mib", 1572864),
     ("2G", 2 * 10**9), ("3kb", 3000)],
)  # fmt: skip
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    config = NeuronConfig(state_dir="/x", node_id="n", memory_budget_bytes=text)
    assert config.memory_budget_bytes == size


@pytest.mark.parametrize("text", ["lots", "1XiB", "-1", "1 2", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a size"):
        NeuronConfig(state_dir="/x", node_id="n", memory_budget_bytes=text)


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be a path"):
        CortexConfig(state_dir="")
