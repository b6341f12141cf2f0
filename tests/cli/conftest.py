"""What tests of the command line use: a way to run it, and a server to talk to."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helexa.cli.main import run
from tests.fakes.http_answers import AnswerServer, answering


@dataclass(frozen=True)
class Ran:
    """A command line that was run."""

    status: int
    out: str
    err: str


Helexa = Callable[..., Ran]


@pytest.fixture
def helexa(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Helexa:
    """Run `helexa …` in this process, with a state folder of its own and no settings around."""
    for name in [name for name in os.environ if name.startswith("HELEXA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))

    def go(*arguments: str, given: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return Ran(status, told.out, told.err)

    return go


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with answering() as told:
        yield told
