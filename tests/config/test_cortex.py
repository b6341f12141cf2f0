"""The settings of a cortex."""

import tomllib
from typing import Any

from helexa.config.cortex import CortexConfig
from helexa.config.sockets import Socket
from helexa.protocol.model import ModelConfig


def config(text: str = "", **more: Any) -> CortexConfig:
    return CortexConfig.model_validate({"state_dir": "/x", **tomllib.loads(text), **more})


def test_the_usual_sockets_are_on_loopback_and_differ() -> None:
    made = config()
    sockets = [made.gateway.socket, made.admin.socket, made.control_plane.socket]
    expected = [Socket("127.0.0.1", port) for port in (8080, 8040, 9040)]
    assert sockets == expected
    assert made.portal.socket is None


def test_the_names_that_scripts_depend_on_are_all_there() -> None:
    """R1.35: spec path and bootstrap knobs, and the names of the documented file."""
    made = config("""
        spec = "/spec.json"
        [gateway]
        socket = "0.0.0.0:80"
        [control_plane]
        socket = "[::1]:9040"
        join_token_file = "/token"
        [admin]
        socket = "off"
        [portal]
        socket = "127.0.0.1:8091"
        [auth]
        keys_file = "/keys"
        [provisioning]
        preload = false
        retry_initial_s = 1
        retry_ceiling_s = 60
        [[models]]
        id = "m"
        engine = "openai"
        listen_endpoint = "http://127.0.0.1:11434/v1/"
        options = { context_tokens = 4096, flash = true, ratio = 0.5, kind = "x" }
        aliases = ["gpt-4o"]
    """)
    assert str(made.spec) == "/spec.json"
    assert made.admin.socket is None
    assert not made.provisioning.preload
    assert made.model_configs() == (
        ModelConfig(
            id="m",
            engine="openai",
            listen_endpoint="http://127.0.0.1:11434/v1",
            options={"context_tokens": 4096, "flash": True, "ratio": 0.5, "kind": "x"},
            aliases=("gpt-4o",),
        ),
    )


def test_a_model_without_a_source_is_looked_up_by_its_id() -> None:
    made = config(models=[{"id": "smollm2-135m"}, {"id": "b", "source": "hf:o/r/f.gguf"}])
    assert [model.source for model in made.model_configs()] == ["smollm2-135m", "hf:o/r/f.gguf"]
    assert made.models[0].engine == "llamacpp"
