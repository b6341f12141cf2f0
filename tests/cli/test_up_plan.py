"""What `helexa up` will run."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from helexa.cli.engines import engine_problems
from helexa.cli.people import opened_location
from helexa.cli.up_plan import OWN_KEY_S, UpPlan, Wish, make_plan, write_settings
from helexa.config.keys import digest_of, read_keys_file
from helexa.config.load import Flag, load_cortex, load_neuron
from helexa.config.problems import InvalidConfigError
from helexa.store.key_book import KeyBook, Standing
from helexa.util.clock import SystemClock
from helexa.util.errors import UsageError

GATEWAY, PLANE = ("gateway", "socket"), ("control_plane", "socket")


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HELEXA_")]:
        monkeypatch.delenv(name)


def plan(tmp_path: Path, flags: dict[tuple[str, ...], Any] | None = None, **more: Any) -> UpPlan:
    given = {("state_dir",): str(tmp_path / "state"), **(flags or {})}
    return make_plan(
        Wish(cortex_flags={path: Flag(value, "--x") for path, value in given.items()}, **more)
    )


def test_a_small_model_is_served_where_nothing_is_said(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert made.model_ids == ["smollm2-135m"]
    assert made.gateway_url == "http://127.0.0.1:8080"
    assert str(made.neuron.cortex_control_endpoint) == "ws://127.0.0.1:9040"
    assert made.neuron.state_dir == made.cortex.state_dir == tmp_path / "state"


def test_a_join_token_is_made_once_private_and_known_to_both(tmp_path: Path) -> None:
    made = plan(tmp_path)
    token = made.token_file.read_text()
    assert len(token.strip()) == 64
    assert stat.S_IMODE(made.token_file.stat().st_mode) == 0o600
    assert made.cortex.control_plane.join_token_file == made.neuron.join_token_file
    assert not made.cortex.control_plane.allow_open
    assert plan(tmp_path).token_file.read_text() == token


def test_other_machines_may_join_without_more_ado_since_there_is_a_token(tmp_path: Path) -> None:
    made = plan(tmp_path, {PLANE: ":9040"})
    assert str(made.neuron.cortex_control_endpoint) == "ws://127.0.0.1:9040"


def test_an_open_gateway_still_needs_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"auth\.keys_file"):
        plan(tmp_path, {GATEWAY: ":8080"})
    assert not (tmp_path / "state").exists()


def test_models_of_the_command_line_beat_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[[models]]\nid = "mine"\nsource = "mine.gguf"\n')
    assert plan(tmp_path, config_file=file).model_ids == ["mine"]
    made = plan(tmp_path, config_file=file, models=("a", "b=hf:o/r/f.gguf"))
    sources = [(model.id, model.source) for model in made.cortex.model_configs()]
    assert sources == [("a", "a"), ("b", "hf:o/r/f.gguf")]


def test_an_engine_that_is_asked_for_here_is_allowed_here(tmp_path: Path) -> None:
    made = plan(tmp_path, engine="echo")
    assert made.model_ids == ["echo"]
    assert made.neuron.engines.allowed == ("llamacpp", "vllm", "openai", "echo")
    with pytest.raises(InvalidConfigError, match="did you mean llamacpp"):
        plan(tmp_path, engine="lamacpp")


def test_free_ports_are_chosen_where_any_will_do(tmp_path: Path) -> None:
    made = plan(tmp_path, {GATEWAY: "127.0.0.1:0", PLANE: "127.0.0.1:0"})
    assert made.cortex.gateway.socket is not None
    assert made.cortex.control_plane.socket is not None
    assert made.cortex.gateway.socket.port > 0
    assert made.gateway_url.endswith(f":{made.cortex.gateway.socket.port}")
    port = made.cortex.control_plane.socket.port
    assert str(made.neuron.cortex_control_endpoint).endswith(f":{port}")


def test_a_conflict_between_the_roles_is_told(tmp_path: Path) -> None:
    """R0.16: port conflicts between two roles."""
    api = {("api", "socket"): Flag("127.0.0.1:8080", "--api-socket")}
    with pytest.raises(InvalidConfigError, match="port conflict: gateway"):
        plan(tmp_path, neuron_flags=api)


@pytest.mark.parametrize("name", ["gateway", "control_plane"])
def test_what_up_cannot_do_without_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"needs {name}.socket"):
        plan(tmp_path, {(name, "socket"): "off"})


def test_the_files_for_the_processes_mean_what_was_planned(tmp_path: Path) -> None:
    made = plan(tmp_path, {GATEWAY: "127.0.0.1:0"}, models=("a", "b=hf:o/r/f.gguf"))
    cortex_file, neuron_file = write_settings(made)
    assert load_cortex(cortex_file, {}, engine_problems).config == made.cortex
    neuron = load_neuron(neuron_file, {}).config
    assert neuron.model_dump() == made.neuron.model_dump()
    assert stat.S_IMODE(cortex_file.stat().st_mode) == 0o600


def test_a_spec_is_left_to_the_process_that_can_read_it_whole(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"models": [{"id": "a", "max_replicas": null}], "policy": {"cooldown_s": 9}}')
    made = plan(tmp_path, {("spec",): str(spec), GATEWAY: "127.0.0.1:0"})
    assert made.model_ids == ["a"]
    loaded = load_cortex(write_settings(made)[0], {}, engine_problems)
    assert loaded.bare.models == ()
    assert loaded.config.models[0].max_replicas is None
    assert loaded.config.provisioning.cooldown_s == 9.0
    assert loaded.bare.provisioning.model_fields_set == set()


def test_where_the_store_has_the_keys_up_makes_one_of_its_own_there(tmp_path: Path) -> None:
    made = plan(tmp_path, {("auth", "kind"): "store", GATEWAY: ":8080"})
    assert made.api_key is not None
    with opened_location(made.cortex) as store:
        book = store.book_after(KeyBook())
        standing, key = book.judge(made.api_key.encode(), SystemClock.wall())
    assert standing is Standing.GOOD
    assert key is not None
    assert (key.name, key.expires_s) == ("helexa up", key.created_s + OWN_KEY_S)
    written = write_settings(made)[0].read_text()
    assert 'kind = "store"' in written
    assert made.api_key not in written


def test_where_keys_are_asked_for_up_has_one_of_its_own_beside_those_of_the_file(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("alice: hlx_0123456789abcdef")
    keys.chmod(0o600)
    made = plan(tmp_path, {("auth", "keys_file"): str(keys), GATEWAY: ":8080"})
    assert made.api_key is not None
    assert made.cortex.auth.keys_file is not None
    known = {key.name: key.digest for key in read_keys_file(made.cortex.auth.keys_file)}
    assert known["helexa-up"] == digest_of(made.api_key.encode())
    assert known["alice"] == digest_of(b"hlx_0123456789abcdef")
    assert made.api_key not in made.cortex.auth.keys_file.read_text()
