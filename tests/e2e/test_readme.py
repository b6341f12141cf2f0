"""The commands of the README, copied verbatim, in the order in which a reader meets them.

A fenced block after `<!-- test -->` must end with status 0 while the stack of the block after
`<!-- test: start -->` runs; that one is stopped by Ctrl-C in the end. A `python` block is run as a
script of its own.
"""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import roles
from tests.e2e.polling import wait_until
from tests.e2e.roles import ROOT, environment
from tests.e2e.stack import get
from tests.e2e.wire import HOST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"<!-- test(?:: ([a-z.]+))? -->\n+```([a-z]*)\n(.*?)```", re.DOTALL)
DEFAULT_PORTS = (8080, 8040, 9040, 8060)
STARTS_WITHIN_S = 240.0


@dataclass(frozen=True)
class Block:
    where: str
    role: str
    language: str
    text: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(f"{page.name}:{line}", match[1] or "", match[2], match[3]))
    return found


BLOCKS = blocks()
STARTS = [block for block in BLOCKS if block.role == "start"]
STEPS = [block for block in BLOCKS if block.role != "start"]


def shell_environment(folder: Path) -> dict[str, str]:
    """Put `helexa` and `python` of this interpreter on the PATH; keep state and home private."""
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in (("helexa", "-m helexa"), ("python", "")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        script.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    weights = str(ROOT / ".make" / "models")
    return environment(
        {"PATH": path, "XDG_STATE_HOME": str(folder / "state"), "HELEXA_WEIGHTS_DIR": weights}
    )


def ports_are_free() -> bool:
    for port in DEFAULT_PORTS:
        with socket.socket() as plug:
            if plug.connect_ex((HOST, port)) == 0:
                return False
    return True


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """Keep another run of these tests off the default ports for as long as this one uses them."""
    with (Path(tempfile.gettempdir()) / "helexa-readme-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def shell(
    alone: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, str]]]:
    """R1.43: the documented start command brings up one cortex and one neuron; Ctrl-C ends all."""
    if not ports_are_free():
        pytest.skip(f"one of the default ports {DEFAULT_PORTS} is in use on this machine")
    folder = tmp_path_factory.mktemp("readme")
    env = shell_environment(folder)
    log_path = folder / "start.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {STARTS[0].text.strip()}"], cwd=folder, env=env,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def alive() -> None:
        assert process.poll() is None, log_path.read_text(errors="replace")[-8000:]

    try:
        wait_until(
            lambda: b'"state":"loaded"' in get(8080, "/v1/models")[1],
            f"a model after {STARTS[0].text.strip()!r}", STARTS_WITHIN_S, alive,
        )  # fmt: skip
        yield folder, env
        family = roles.descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in {0, 130}, log_path.read_text(errors="replace")[-8000:]
        roles.wait_gone(family, 5.0)
        # What a page starts in the background, it stops by the end of the page.
        roles.wait_gone(roles.processes_of(folder), 20.0)
        assert "Traceback" not in log_path.read_text(errors="replace")
    finally:
        family = [*roles.descendants(process.pid), *roles.processes_of(folder)]
        process.kill()
        process.wait()
        for child in family:
            if roles.is_alive(child):
                child.kill()


def test_there_is_one_start_and_something_to_try() -> None:
    assert len(STARTS) == 1
    assert len(STEPS) >= 3


@pytest.mark.parametrize("block", STEPS, ids=[block.where for block in STEPS])
def test_a_documented_command_works_as_it_stands(
    shell: tuple[Path, dict[str, str]], block: Block
) -> None:
    """R1.43, R1.44."""
    folder, env = shell
    text = block.text
    if block.language == "python":
        (folder / "main.py").write_text(text)
        text = "python main.py"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.where}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.strip()
