"""The `helexa` command as a whole."""

import ast
import subprocess
import sys
from pathlib import Path

import click
import pytest

from helexa.cli.main import cli
from helexa.cli.options import CORTEX_FLAGS, NEURON_FLAGS
from helexa.config.cortex import CortexConfig
from helexa.config.fields import settings_of
from helexa.config.neuron import NeuronConfig
from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, click.Command]:
    context = click.Context(cli, info_name="helexa", help_option_names=["-h", "--help"])
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_help_lists_every_command_and_flag_and_exits_0(helexa: Helexa) -> None:
    """R0.25, R0.37: `helexa --help`, `helexa cortex --help`, `helexa neuron --help`."""
    ran = helexa("--help")
    assert ran.status == 0
    assert all(f"\n  {name} " in ran.out for name in commands())
    for name, command in commands().items():
        shown = helexa(name, "--help")
        assert shown.status == 0
        flags = [flag for option in command.params for flag in option.opts if flag[0] == "-"]
        assert all(flag in shown.out for flag in flags), name


COMMON = "--config --log-level --state-dir --join-token-file "
CORTEX = "--gateway-socket --control-plane-socket --orchestrator-socket --portal-socket --spec"
NEURON = "--cortex-control-endpoint --node-id --api-socket"


@pytest.mark.parametrize(
    ("command", "flags"), [("cortex", COMMON + CORTEX), ("neuron", COMMON + NEURON)]
)
def test_the_flags_of_both_roles_are_there(helexa: Helexa, command: str, flags: str) -> None:
    """R0.26, R1.37: common and role flags."""
    shown = helexa(command, "--help").out
    assert set(flags.split()) <= set(shown.replace(",", " ").split())


def test_every_flag_sets_a_setting_that_exists() -> None:
    for flags, role in ((CORTEX_FLAGS, CortexConfig), (NEURON_FLAGS, NeuronConfig)):
        known = {setting.path for setting in settings_of(role)}
        assert {flag.path for flag in flags} <= known


def test_every_command_has_words_and_most_have_examples(helexa: Helexa) -> None:
    for name, command in commands().items():
        assert command.help, name
        if name not in {"completion", "version", "config"}:
            assert "Examples:" in (command.epilog or ""), name


def server_status(code: int) -> Answer:
    return Answer({"error": {"message": "no", "code": "x"}}, code)


@pytest.mark.parametrize(
    ("arguments", "answer", "status"),
    [
        (["version"], None, 0),
        ([], None, 2),
        (["nothing"], None, 2),
        (["cortex", "--nothing"], None, 2),
        (["chat", "--max-tokens", "0", "x"], None, 2),
        (["chat"], None, 2),
        (["chat", "-m", "m", "x"], server_status(404), 3),
        (["chat", "-m", "m", "x"], server_status(401), 4),
        (["chat", "-m", "m", "x"], server_status(403), 4),
        (["status", "--admin", "127.0.0.1:1"], None, 5),
        (["chat", "-m", "m", "x"], server_status(429), 6),
        (["chat", "-m", "m", "x"], server_status(504), 7),
        (["chat", "-m", "m", "x"], server_status(500), 1),
        (["config", "check", "/does/not/exist"], None, 78),
        (["cortex", "--gateway-socket", "8080"], None, 78),
        (["neuron", "--node-id", "a b"], None, 78),
    ],
)
def test_the_exit_status_tells_what_happened(
    helexa: Helexa, server: AnswerServer, arguments: list[str], answer: Answer | None, status: int
) -> None:
    """Exit codes: 0 1 2 3 4 5 6 7 78; 8 and 130 have tests of their own."""
    if answer is not None:
        server["POST /v1/chat/completions"] = answer
        arguments = [*arguments, "--base-url", f"{server.base}/v1"]
    ran = helexa(*arguments)
    assert ran.status == status, ran.err
    if status and arguments:
        assert ran.err.startswith("error[HX-")
        assert ran.out == ""


def test_a_mistyped_command_gets_a_suggestion(helexa: Helexa) -> None:
    ran = helexa("sttaus")
    assert "did you mean status?" in ran.err
    assert "  hint: helexa --help" in ran.err


@pytest.mark.parametrize("arguments", [["--debug", "status"], ["status", "--debug"]])
def test_debug_shows_a_traceback_wherever_it_stands(helexa: Helexa, arguments: list[str]) -> None:
    ran = helexa(*arguments, "--admin", "127.0.0.1:1")
    assert "Traceback (most recent call last)" in ran.err
    assert "error[HX-0703]" in ran.err


def test_no_traceback_without_being_asked_for(helexa: Helexa) -> None:
    assert "Traceback" not in helexa("status", "--admin", "127.0.0.1:1").err


def test_main_imports_only_the_command_line_and_config() -> None:
    """R0.27, RC.3: no business logic; roles are imported when they are run."""
    tree = ast.parse((ROOT / "src/helexa/cli/main.py").read_text())
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in named if name.startswith("helexa")}
    assert all(name.startswith(("helexa.cli", "helexa.config", "helexa.util")) for name in ours)
    roles = ast.parse((ROOT / "src/helexa/cli/roles.py").read_text())
    named = {node.module or "" for node in ast.walk(roles) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in named if name.startswith(("helexa.cortex", "helexa.neuron"))}
    assert ours == {"helexa.cortex.app", "helexa.neuron.app"}


def test_help_and_version_load_nothing_heavy() -> None:
    heavy = ["pydantic", "aiohttp", "starlette", "uvicorn", "rich", "structlog", "asyncio"]
    code = (
        "import sys\n"
        "from helexa.cli.main import run\n"
        f"assert run([sys.argv[1]]) == 0\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)\n"
    )
    for word in ("--help", "version"):
        ran = subprocess.run(
            [sys.executable, "-c", code, word],
            capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": "src"},
        )  # fmt: skip
        assert ran.stderr.strip() == "[]", word


def test_output_that_nobody_reads_any_more_is_no_fault_of_ours() -> None:
    command = f"{sys.executable} -m helexa config reference | head -1"
    ran = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={"PYTHONPATH": "src", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert ran.stdout == "# Settings\n"
    assert ran.stderr == ""
