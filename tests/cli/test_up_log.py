"""The logs of the processes of `helexa up`."""

from pathlib import Path

import pytest

from helexa.cli.up_log import LOG_BYTES_MAX, LoggedOutput


def test_all_that_is_printed_is_in_the_file_and_the_last_of_it_in_memory(tmp_path: Path) -> None:
    output = LoggedOutput(tmp_path / "a.log")
    output.feed(b"one\n")
    output.feed(b"two\n")
    assert (tmp_path / "a.log").read_bytes() == b"one\ntwo\n"
    assert output.tail(1) == ("two",)
    output.close()


def test_a_log_never_grows_beyond_its_bound_and_one_older_is_kept(tmp_path: Path) -> None:
    output = LoggedOutput(tmp_path / "a.log")
    block = b"x" * (LOG_BYTES_MAX // 4)
    for _ in range(12):
        output.feed(block)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"a.log": LOG_BYTES_MAX, "a.log.1": LOG_BYTES_MAX}
    output.close()


def test_a_full_disk_does_not_stop_what_is_logged(tmp_path: Path) -> None:
    output = LoggedOutput(tmp_path / "a.log")
    output.close()
    with Path("/dev/full").open("ab", buffering=0) as full:
        output._log = full
        output.feed(b"last words\n")
    assert output.tail(1) == ("last words",)


def test_lines_are_shown_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = LoggedOutput(tmp_path / "a.log", mirror=True)
    output.feed("grüße\n".encode())
    output.close()
    assert capsys.readouterr().err == "grüße\n"
