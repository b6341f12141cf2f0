"""`helexa up`, as real processes on the test engine."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Helexa
from tests.fakes.waiting import until_blocking

ROOT = Path(__file__).parents[2]
ANY = "127.0.0.1:0"
PATIENCE_S = 100.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Up:
    """One run of `helexa up`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out, self.err = folder / "out", folder / "err"
        command = [sys.executable, "-m", "helexa", "up", "--state-dir", str(folder / "state"),
                   "--gateway-socket", ANY, "--control-plane-socket", ANY,
                   "--orchestrator-socket", ANY, "--api-socket", ANY]  # fmt: skip
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "--engine", "echo", "-o", "json", *arguments],
                stdout=out, stderr=err, cwd=ROOT, start_new_session=True,
                env={"PYTHONPATH": "src", "PATH": os.environ["PATH"], "HOME": str(folder)},
            )  # fmt: skip
        self._below: dict[int, psutil.Process] = {}

    def ready(self) -> dict[str, Any]:
        """Wait until it serves; return what it told."""
        until_blocking(
            lambda: self.out.read_bytes().endswith(b"\n") or self.process.poll() is not None,
            "helexa is up", PATIENCE_S,
        )  # fmt: skip
        assert self.process.poll() is None, self.err.read_text()
        self.note()
        facts: dict[str, Any] = json.loads(self.out.read_text())
        return facts

    def note(self) -> list[psutil.Process]:
        """Remember every process below it."""
        for each in psutil.Process(self.process.pid).children(recursive=True):
            self._below[each.pid] = each
        return list(self._below.values())

    def ended(self) -> int:
        """Wait for its end; return its exit status."""
        return self.process.wait(PATIENCE_S)

    def nothing_is_left(self) -> None:
        """Wait until every process that was ever seen below it is gone."""
        assert self._below
        until_blocking(
            lambda: not any(each.is_running() for each in self._below.values()),
            "no process is left", PATIENCE_S,
        )  # fmt: skip

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._below:
            self.nothing_is_left()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    run = Up(tmp_path)
    yield run
    run.close()


def ask(facts: dict[str, Any]) -> str:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    request = urllib.request.Request(
        f"{facts['base_url']}/chat/completions", json.dumps(body).encode(),
        {"content-type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = json.load(answer)["choices"][0]["message"]["content"]
    return text


def test_one_command_serves_says_so_again_and_leaves_nothing_behind(
    up: Up, helexa: Helexa, tmp_path: Path
) -> None:
    """R1.1, R1.43: up, first token, idempotent, Ctrl-C."""
    facts = up.ready()
    assert facts["models"] == {"echo": "chat"}
    assert ask(facts)
    told = up.err.read_text()
    for step in (
        "starting cortex …",
        "starting neuron …",
        "loading echo …",
        "first answer of echo",
    ):
        assert step in told
    assert told.count("done in") == 4
    assert helexa("status", "--admin", facts["admin"], "--check").status == 0

    again = helexa("up", "--state-dir", tmp_path / "state", "--engine", "echo", "-o", "json")
    assert again.status == 0
    assert json.loads(again.out) == facts
    shown = helexa("up", "--state-dir", tmp_path / "state", "--engine", "echo")
    assert shown.out.startswith("helexa is up already")
    other = helexa("up", "--state-dir", tmp_path / "state", "--engine", "echo", "-m", "other")
    assert other.status == 6
    assert "without other; it serves echo" in other.err

    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    up.nothing_is_left()
    assert up.err.read_text().endswith("stopped\n")
    assert sorted(path.name for path in (tmp_path / "state" / "up").glob("*.log")) == [
        "cortex.log", "neuron.log"
    ]  # fmt: skip


def test_killed_it_takes_everything_with_it_and_can_be_started_again(
    up: Up, tmp_path: Path
) -> None:
    facts = up.ready()
    up.process.kill()
    up.ended()
    up.nothing_is_left()
    port = facts["gateway"].rpartition(":")[2]
    second = Up(tmp_path, "--gateway-socket", f"127.0.0.1:{port}")
    try:
        assert second.ready()["gateway"] == facts["gateway"]
        second.process.send_signal(signal.SIGTERM)
        assert second.ended() == 0
    finally:
        second.close()


@pytest.mark.parametrize("role", ["cortex", "neuron"])
def test_a_role_that_dies_ends_the_whole_and_is_told(up: Up, role: str) -> None:
    up.ready()
    found = [each for each in up.note() if each.cmdline()[3:4] == [role]]
    found[-1].kill()
    assert up.ended() == 1
    up.nothing_is_left()
    assert f"error[HX-0605]: the {role} ended by itself" in up.err.read_text()


def test_ctrl_c_before_it_is_up_is_130_and_leaves_nothing_behind(up: Up) -> None:
    until_blocking(lambda: b"starting neuron" in up.err.read_bytes(), "it starts", PATIENCE_S)
    up.note()
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 130
    up.nothing_is_left()


def test_a_port_that_is_taken_is_told_before_anything_is_started(
    helexa: Helexa, tmp_path: Path
) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        taken = f"127.0.0.1:{listening.getsockname()[1]}"
        ran = helexa("up", "--engine", "echo", "--gateway-socket", taken, "--api-socket", ANY,
                     "--control-plane-socket", ANY, "--orchestrator-socket", ANY)  # fmt: skip
    assert ran.status == 6
    assert f"another program listens on {taken} (--gateway-socket)" in ran.err
    assert "hint: helexa up --gateway-socket 127.0.0.1:" in ran.err
    assert "starting" not in ran.err


def test_bad_settings_are_told_before_anything_is_started(helexa: Helexa) -> None:
    ran = helexa("up", "--engine", "nonsense", "--gateway-socket", "8080")
    assert ran.status == 78
    assert "--gateway-socket: gateway.socket" in ran.err
    assert "no such engine" in ran.err
