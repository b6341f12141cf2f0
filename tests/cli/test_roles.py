"""`helexa cortex` and `helexa neuron`."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helexa.cli.roles import run_until_done
from tests.cli.conftest import Helexa
from tests.fakes.waiting import until_blocking

ROOT = Path(__file__).parents[2]
BAD = '[gateway]\nsocket = "8080"\n[admin]\nsocket = "127.0.0.1:9040"\n[nothing]\n'


def test_bad_settings_stop_a_role_before_anything_runs_and_are_all_told(
    helexa: Helexa, tmp_path: Path
) -> None:
    """R0.16: specific messages, before any socket is bound; the same as `config check` prints."""
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    ran = helexa("cortex", "--config", file)
    assert ran.status == 78
    assert ran.out == ""
    for said in (":2: gateway.socket", ":4: admin.socket", "port conflict", ":5: nothing"):
        assert said in ran.err
    assert helexa("config", "check", file).err == ran.err
    assert not (tmp_path / "state-home").exists()


def test_an_engine_is_asked_about_its_options(helexa: Helexa, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[[models]]\nid = "a"\nengine = "echo"\noptions = { nonsense = 1 }\n')
    ran = helexa("cortex", "--config", file)
    assert ran.status == 78
    assert f"{file}:4: models[0].options: " in ran.err
    assert "nonsense" in ran.err


@pytest.mark.parametrize("role", ["cortex", "neuron"])
def test_a_role_runs_until_it_is_asked_to_stop_and_exits_0(role: str, tmp_path: Path) -> None:
    """R0.25, R0.38: started with settings from flags; a start and a stop are logged."""
    sockets = {
        "cortex": ["--gateway-socket", "127.0.0.1:0", "--control-plane-socket", "127.0.0.1:0",
                   "--orchestrator-socket", "127.0.0.1:0"],
        "neuron": ["--api-socket", "127.0.0.1:0", "--cortex-control-endpoint", "ws://127.0.0.1:1"],
    }[role]  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "helexa", role, "--state-dir", str(tmp_path / "state"),
             "--log-style", "json", *sockets],
            stdout=subprocess.PIPE, stderr=output, cwd=ROOT,
            env={"PYTHONPATH": "src", "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )  # fmt: skip
    try:
        started = re.compile(rf"{role}[ _]started")
        until_blocking(lambda: started.search(log.read_text()), f"{role} has started", 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        out, _ = process.communicate()
    assert out == b""
    text = log.read_text()
    assert re.search(rf"{role}[ _]stopped", text)
    assert "Traceback" not in text


def test_the_event_loop_is_closed_after_a_run() -> None:
    async def work() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert run_until_done(work()).is_closed()
