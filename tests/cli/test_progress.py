"""How far a download is."""

import os
import pty

import pytest

from helexa.cli.progress import progress_display, size_text

MIB = 2**20


def test_a_download_is_told_in_tenths_and_other_phases_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_display("m") as display:
        for done in range(0, 1001, 5):
            display("download", done * MIB // 1000, MIB)
        for done in range(0, 1001, 5):
            display("check", done, 1000)
        display("convert", 0, None)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[:2] == ["m: download 0 % of 1.0 MiB", "m: download 10 % of 1.0 MiB"]
    assert len(lines) == 11 + 2
    assert lines[11:] == ["m: check of 1000 B", "m: convert"]


def test_a_download_of_unknown_size_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display("m") as display:
        display("download", 5, None)
        display("download", 6, None)
    assert capsys.readouterr().err == "m: download\n"


def test_a_terminal_gets_a_bar_that_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with progress_display("weights") as display:
            display("download", 512, 1024)
            display("check", 1, 1024)
        terminal.flush()
        shown = os.read(master, 65536).decode()
    os.close(master)
    assert "weights: check" in shown
    assert "\x1b[2K" in shown


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (98_362_432, "93.8 MiB"),
     (5 * 2**40, "5120.0 GiB")],
)  # fmt: skip
def test_sizes_are_told_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
