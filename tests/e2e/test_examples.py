"""The files under `examples/` are true: settings pass the check, the list of them is whole."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.roles import ROOT, environment

EXAMPLES = ROOT / "examples"
ROLE_OF = {"cortex.toml": "cortex", "attach.toml": "cortex", "neuron.toml": "neuron"}


def helexa(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "helexa", *arguments], cwd=cwd, env=environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"\]\(([a-z.]+)\)", (EXAMPLES / "README.md").read_text()))
    assert listed == {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
    assert {path.name for path in EXAMPLES.glob("*.toml")} == set(ROLE_OF)


@pytest.mark.parametrize("name", sorted(ROLE_OF))
def test_an_example_s_settings_are_right(name: str, tmp_path: Path) -> None:
    """R0.38: the files that it names exist here, as they would where it is used."""
    shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "weights").mkdir()
    for secret, text in (("join-token", "0f" * 32), ("keys", f"ann: sha256:{'ab' * 32}")):
        (tmp_path / secret).write_text(text)
        (tmp_path / secret).chmod(0o600)
    done = helexa("config", "check", name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_spec_names_models_of_the_catalogue(tmp_path: Path) -> None:
    models = json.loads((EXAMPLES / "spec.json").read_text())["models"]
    assert [model["id"] for model in models] == ["smollm2-135m", "all-minilm-l6-v2"]
    (tmp_path / "cortex.toml").write_text(f'spec = "{EXAMPLES / "spec.json"}"\n')
    done = helexa("config", "check", "cortex.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
