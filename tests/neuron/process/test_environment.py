"""Rule R4: an engine's environment starts empty."""

import pytest

from helexa.neuron.process.environment import PATH, engine_environment
from helexa.util.errors import ConfigError


def test_an_engine_gets_a_fixed_path_a_private_home_and_what_it_asked_for(tmp_path):
    found = engine_environment(tmp_path, {"VLLM_NO_USAGE_STATS": "1"}, "mark")
    assert found == {
        "PATH": PATH, "HOME": str(tmp_path), "LANG": "C.UTF-8", "HELEXA_ENGINE": "mark",
        "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_AUDIT", "LLAMA_ARG_TOOLS", "llama_arg_tools", "GGML_BACKEND_PATH",
     "PYTHONPATH", "PYTHONSTARTUP", "PATH", "HOME", "IFS", "HELEXA_ENGINE", "A=B", "A B", "9A",
     "Ä", ""],
)  # fmt: skip
def test_names_that_can_run_code_are_refused(tmp_path, name):
    """S01: by environment."""
    with pytest.raises(ConfigError, match="R4"):
        engine_environment(tmp_path, {name: "x"}, "mark")


def test_a_value_with_a_nul_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        engine_environment(tmp_path, {"A": "x\0LD_PRELOAD=y"}, "mark")
