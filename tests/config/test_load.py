"""Files, environment and flags, read together."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helexa.config.cortex import CortexConfig
from helexa.config.load import (
    Flag,
    Flags,
    Loaded,
    load_cortex,
    load_neuron,
    node_name,
    process_environment,
    program_environment,
    role_of_file,
    state_home,
)
from helexa.config.problems import InvalidConfigError
from helexa.protocol.ids import neuron_id_problem

SOCKET = ("gateway", "socket")


def cortex(
    file: Path | None = None, flags: Flags | None = None, environ: Mapping[str, str] | None = None
) -> Loaded[CortexConfig]:
    return load_cortex(file, flags or {}, lambda _: [], environ or {})


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def problems(file: Path | None, **more: Any) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        cortex(file, **more)
    return [str(problem) for problem in caught.value.problems]


def test_each_layer_beats_the_one_below_it(tmp_path: Path) -> None:
    """R0.14: default < file < environment < flag, at the same key."""
    file = written(tmp_path / "c.toml", '[gateway]\nsocket = "127.0.0.1:2"\n')
    environ = {"HELEXA_GATEWAY_SOCKET": "127.0.0.1:3"}
    flags = {SOCKET: Flag("127.0.0.1:4", "--gateway-socket")}
    steps: list[tuple[Loaded[CortexConfig], int, str, str]] = [
        (cortex(), 8080, "default", "default"),
        (cortex(file), 2, "file", f"{file}:2"),
        (cortex(file, environ=environ), 3, "environment", "HELEXA_GATEWAY_SOCKET"),
        (cortex(file, flags, environ), 4, "flag", "--gateway-socket"),
    ]
    for loaded, port, layer, where in steps:
        assert loaded.config.gateway.socket is not None
        assert loaded.config.gateway.socket.port == port
        assert (loaded.origin(SOCKET).layer, loaded.origin(SOCKET).where) == (layer, where)


def test_flags_beat_the_file_for_every_key_port(tmp_path: Path) -> None:
    """R1.38: flags beat the config file for the key ports."""
    names = ["gateway", "control_plane", "admin", "portal"]
    text = "".join(f'[{name}]\nsocket = "127.0.0.1:{i + 10}"\n' for i, name in enumerate(names))
    file = written(tmp_path / "c.toml", text)
    flags = {(name, "socket"): Flag(f"127.0.0.1:{i + 20}", "--x") for i, name in enumerate(names)}
    config = cortex(file, flags).config
    ports = [getattr(config, name).socket.port for name in names]
    assert ports == [20, 21, 22, 23]


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """R0.15, R0.16: every problem, each with its place, before anything is bound."""
    file = written(
        tmp_path / "c.toml",
        "\n".join(
            [
                'spec = "missing.json"', "[gateway]", 'socket = "8080"', "[gatewy]", "[admin]",
                'socket = "127.0.0.1:9040"', "[auth]", 'keys_file = "keys"', "[[models]]",
                'id = "a"', "[[models]]", 'id = "a"', 'engine = "openai"',
            ]
        ),
    )  # fmt: skip
    told = problems(
        file,
        flags={("log", "level"): Flag("loud", "--log-level")},
        environ={"HELEXA_SHUTDOWN_DRAIN_S": "-1", "HELEXA_LOGLEVEL": "x"},
    )
    expected = [
        "--log-level: log.level = \"loud\": must be 'debug', 'info', 'warning' or 'error'",
        f'{file}:1: spec = "{tmp_path}/missing.json": cannot be read: No such file or directory',
        f"{file}:3: gateway.socket = \"8080\": '8080' has no port; write host:port,",
        f"{file}:4: gatewy: unknown setting; did you mean gateway?",
        f'{file}:6: admin.socket = "127.0.0.1:9040": port conflict: control_plane.socket',
        f'{file}:8: auth.keys_file = "{tmp_path}/keys": cannot read {tmp_path}/keys: No such file',
        f'{file}:12: models[1].id = "a": the name is taken already, by models[0].id',
        f"{file}:11: models[1].listen_endpoint: is missing",
        "HELEXA_LOGLEVEL: unknown variable; did you mean HELEXA_LOG_LEVEL?",
        'HELEXA_SHUTDOWN_DRAIN_S: shutdown.drain_s = "-1": must be greater than or equal to 0',
    ]
    assert len(told) == len(expected)
    for text in expected:
        assert any(line.startswith(text) for line in told), (text, told)


def test_a_wrong_value_does_not_bring_false_alarms_about_what_rests_on_it(tmp_path: Path) -> None:
    text = """
        [gateway]
        socket = ":80"
        [admin]
        socket = "8080"
        [portal]
        socket = "127.0.0.1:8040"
        [auth]
        keys_file = 5
    """
    told = problems(written(tmp_path / "c.toml", text))
    assert [line.split(" ")[1] for line in told] == ["admin.socket", "auth.keys_file"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = = 2\n", ":2: is not TOML: "),
        ("[a]\nx = 1\n[a]\n", ":3: is not TOML: "),
        ("a = [1,\n", ": is not TOML: "),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    told = problems(written(tmp_path / "c.toml", text))
    assert len(told) == 1
    assert said in told[0]


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "none.toml")[0]
    assert "directory" in problems(tmp_path)[0]
    (tmp_path / "b.toml").write_bytes(b"a = 1\nb = '\xff'\n")
    assert ":2: is not UTF-8" in problems(tmp_path / "b.toml")[0]
    (tmp_path / "big.toml").write_bytes(b"#" * (4 * 2**20 + 1))
    assert "larger than" in problems(tmp_path / "big.toml")[0]


def test_paths_in_a_file_count_from_its_folder_and_others_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "models").mkdir()
    text = 'state_dir = "../state"\nmodel_folders = ["../models"]\nweights_dir = "~/w"\n'
    file = written(tmp_path / "sub" / "n.toml", text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    config = load_neuron(file, {}, {}).config
    assert config.state_dir == tmp_path / "state"
    assert config.model_roots == (Path("/home/me/w"), tmp_path / "models")
    flags = {("state_dir",): Flag("elsewhere", "--state-dir")}
    assert load_neuron(file, flags, {}).config.state_dir == tmp_path / "elsewhere"


def test_models_of_the_spec_lie_below_those_of_the_file(tmp_path: Path) -> None:
    """R1.35: the spec's models are used, and the config file wins where both name one."""
    spec = {"models": [{"id": "a", "source": "from-spec", "weight": 2}, {"id": "b"}]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    file = written(
        tmp_path / "c.toml", 'spec = "spec.json"\n[[models]]\nid = "a"\nsource = "from-file"\n'
    )
    loaded = cortex(file)
    sources = [(model.id, model.source) for model in loaded.config.models]
    assert sources == [("a", "from-file"), ("b", None)]
    assert loaded.origin(("models", 1, "id")).where == f"{tmp_path}/spec.json:1"
    assert loaded.origin(("models", 1, "id")).layer == "spec"
    assert loaded.config.models[0].weight == 2.0, "the file says nothing of it"
    assert loaded.origin(("models", 0, "weight")).layer == "spec"
    assert loaded.origin(("models", 0, "source")).layer == "file"
    assert [model.id for model in loaded.bare.models] == ["a"]
    assert loaded.spec is not None


def test_policy_of_the_spec_lies_below_that_of_the_file(tmp_path: Path) -> None:
    """R6.6: the file wins where both set a value, and the spec beats the default."""
    (tmp_path / "spec.json").write_text('{"policy": {"cooldown_s": 9,\n "hold_max_s": 8}}')
    file = written(tmp_path / "c.toml", 'spec = "spec.json"\n[provisioning]\ncooldown_s = 7\n')
    loaded = cortex(file)
    provisioning = loaded.config.provisioning
    assert (provisioning.cooldown_s, provisioning.hold_max_s) == (7.0, 8.0)
    assert loaded.origin(("provisioning", "hold_max_s")).where == f"{tmp_path}/spec.json:2"
    assert loaded.bare.provisioning.hold_max_s == 20.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"models": [{}]}', "models[0].id: is required"),
        ('{"model": []}', "did you mean models?"),
        ('{"models": [{"id": "a", "engine": "x"}]}', "no such engine"),
        (
            '{"models": [{"id": "a", "engine": "echo", "placement": {"with": ["b"]}}]}',
            'models[0].placement.with[0] = "b": no model has this id',
        ),
    ],
)
def test_a_bad_spec_is_told_with_its_path_and_place(tmp_path: Path, text: str, said: str) -> None:
    """R0.16: a missing or bad spec file gives a specific message."""
    spec = written(tmp_path / "spec.json", text)
    told = problems(None, flags={("spec",): Flag(str(spec), "--spec")})
    assert len(told) == 1
    assert told[0].startswith(str(spec))
    assert said in told[0]


def test_the_state_folder_follows_the_xdg_rules() -> None:
    assert state_home({"XDG_STATE_HOME": "/s"}) == Path("/s/helexa")
    assert state_home({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/helexa"
    assert cortex(environ={"XDG_STATE_HOME": "/s"}).config.state_dir == Path("/s/helexa")


def test_a_neuron_is_called_by_its_host_where_nobody_names_it() -> None:
    assert load_neuron(None, {}, {}).config.node_id == node_name()
    assert neuron_id_problem(node_name()) is None


def test_helper_programs_get_what_they_need_and_nothing_else() -> None:
    environ = {"PATH": "/bin", "PIP_INDEX_URL": "u", "https_proxy": "p", "LD_PRELOAD": "x",
               "AWS_SECRET": "y", "HELEXA_LOG_LEVEL": "info"}  # fmt: skip
    given = {"PATH": "/bin", "PIP_INDEX_URL": "u", "https_proxy": "p"}
    assert program_environment(environ) == given
    assert load_neuron(None, {}, environ).config.program_environment == given


def test_the_role_of_a_file_is_told_by_its_keys(tmp_path: Path) -> None:
    assert role_of_file(written(tmp_path / "a", "[gateway]\n")) == "cortex"
    assert role_of_file(written(tmp_path / "b", 'node_id = "x"\n[engines]\n')) == "neuron"
    assert role_of_file(written(tmp_path / "c", "[log]\n")) == "cortex"
    with pytest.raises(InvalidConfigError):
        role_of_file(tmp_path / "none")


def test_processes_of_our_own_get_everything_but_settings() -> None:
    environ = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "HELEXA_LOG_LEVEL": "debug"}
    assert process_environment(environ) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0"}


def test_the_process_environment_is_read_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("HELEXA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HELEXA_LOG_LEVEL", "error")
    assert load_cortex(None, {}, lambda _: []).config.log.level == "error"
