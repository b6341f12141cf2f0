"""Shell completion."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Helexa
from tests.fakes.fleet_answers import serve_status, status_of
from tests.fakes.http_answers import AnswerServer

ROOT = Path(__file__).parents[2]
SHELLS = ["bash", "zsh", "fish"]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_that_asks_helexa(helexa: Helexa, shell: str) -> None:
    ran = helexa("completion", shell)
    assert ran.status == 0
    assert f"_HELEXA_COMPLETE={shell}_complete" in ran.out


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_its_shell_can_read(helexa: Helexa, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = helexa("completion", shell).out
    subprocess.run([program, "-n"], input=script, text=True, check=True)


def completed(line: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return what completion offers behind `line`, as bash asks for it."""
    words = line.split(" ")
    environment = {
        "PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1), "_HELEXA_COMPLETE": "bash_complete", **(environ or {}),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", "from helexa.cli.main import main; main()"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stderr == ""
    return [entry.partition(",")[2] for entry in ran.stdout.split("\n") if entry]


def test_commands_flags_and_choices_are_completed() -> None:
    assert completed("helexa ne") == ["neuron", "neurons"]
    assert completed("helexa cortex --gate") == ["--gateway-socket"]
    assert completed("helexa status -o j") == ["json"]


def test_models_are_completed_from_the_running_cortex_and_the_catalogue(
    server: AnswerServer,
) -> None:
    admin = serve_status(server, status_of(healthy=False))
    assert completed(f"helexa models --admin {admin} la") == ["large"]
    assert completed("helexa models --admin 127.0.0.1:1 smol") == ["smollm2-135m"]
    assert completed(f"helexa inspect model --admin {admin} la") == ["large"]
    assert completed("helexa pull all") == ["all-minilm-l6-v2"]


def test_neurons_are_completed_from_the_running_cortex(server: AnswerServer) -> None:
    admin = serve_status(server, status_of(healthy=False))
    for command in ("neuron drain", "neuron cordon", "neuron uncordon", "inspect neuron"):
        assert completed(f"helexa {command} --admin {admin} rack") == ["rack1", "rack2"]
    assert completed("helexa neuron drain --admin 127.0.0.1:1 rack") == []
