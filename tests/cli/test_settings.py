"""`helexa config`."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Helexa


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return file


def test_a_right_file_is_exit_0_and_a_wrong_one_78_with_everything(
    helexa: Helexa, tmp_path: Path
) -> None:
    """R0.15: `config check` tells every problem at once."""
    file = written(tmp_path, "[gateway]\nidle_timeout_s = 10\n")
    ran = helexa("config", "check", file)
    assert ran.status == 0
    assert ran.out.startswith(f"{file}: right, as settings of a cortex")
    ran = helexa("config", "check", written(tmp_path, "[gateway]\na = 1\nb = 2\n"))
    assert ran.status == 78
    assert ran.err.startswith(f"error[HX-0101]: 2 problems in the settings of cortex ({file})\n")
    assert f"\n  {file}:2: gateway.a: unknown setting" in ran.err
    assert f"\n  {file}:3: gateway.b: unknown setting" in ran.err


def test_problems_are_told_as_json_too(helexa: Helexa, tmp_path: Path) -> None:
    file = written(tmp_path, "[log]\nlevel = 5\n")
    ran = helexa("config", "check", file, "-o", "json")
    told = json.loads(ran.out)
    assert ran.status == 78
    assert not told["ok"]
    assert told["problems"][0]["where"] == f"{file}:2"
    assert told["problems"][0]["value"] == "5"
    assert json.loads(helexa("config", "check", "-o", "json").out)["ok"] is True


def test_the_role_is_told_by_the_file_or_by_the_user(helexa: Helexa, tmp_path: Path) -> None:
    file = written(tmp_path, 'node_id = "n"\n')
    assert "settings of a neuron" in helexa("config", "check", file).out
    ran = helexa("config", "check", file, "--role", "cortex")
    assert "is a setting of neuron" in ran.err


def test_the_file_can_be_named_by_the_environment(
    helexa: Helexa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELEXA_CONFIG", str(written(tmp_path, "[nonsense]\n")))
    assert helexa("config", "check").status == 78
    assert helexa("cortex").status == 78


def test_each_value_is_shown_with_the_layer_that_set_it(
    helexa: Helexa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R0.14: `config show --origin`."""
    file = written(tmp_path, '[admin]\nsocket = "127.0.0.1:1234"\n[[models]]\nid = "a"\n')
    monkeypatch.setenv("HELEXA_LOG_LEVEL", "debug")
    told = json.loads(helexa("config", "show", file, "--origin", "-o", "json").out)
    assert told["admin.socket"] == {
        "value": "127.0.0.1:1234", "layer": "file", "where": f"{file}:2"
    }  # fmt: skip
    assert told["log.level"]["where"] == "HELEXA_LOG_LEVEL"
    assert told["gateway.socket"]["layer"] == "default"
    lines = helexa("config", "show", file, "--origin").out.splitlines()
    assert any(line.startswith('level = "debug"') and "HELEXA_LOG_LEVEL" in line for line in lines)
    assert any(line.startswith('id = "a"') and f"{file}:4" in line for line in lines)


@pytest.mark.parametrize("role", ["cortex", "neuron"])
def test_what_is_shown_is_a_file_that_means_the_same(
    helexa: Helexa, tmp_path: Path, role: str
) -> None:
    shown = helexa("config", "show", "--role", role).out
    assert tomllib.loads(shown)
    file = written(tmp_path, shown)
    assert helexa("config", "show", file, "--role", role).out == shown


@pytest.mark.parametrize("kind", ["cortex", "neuron", "spec"])
def test_schemas_are_printed(helexa: Helexa, kind: str) -> None:
    assert json.loads(helexa("config", "schema", kind).out)["title"] == f"helexa {kind}"


def test_the_reference_is_the_page_in_the_docs(helexa: Helexa) -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert helexa("config", "reference").out == page.read_text()
