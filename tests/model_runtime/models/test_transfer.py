import random
from pathlib import Path

import pytest

from helexa.model_runtime.models.disk import PartFile
from helexa.model_runtime.models.transfer import Remote, download
from helexa.model_runtime.models.worker import silent
from helexa.util.backoff import Backoff
from helexa.util.errors import SourceError
from tests.fakes.hub_server import HubServer, serving
from tests.fakes.progress import Told

DATA = random.Random(5).randbytes(900_000)
AT_ONCE = Backoff(0, 0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return HubServer({"o/r/a.gguf": DATA})


def remote(hub: HubServer, size_bytes: int = len(DATA)) -> Remote:
    return Remote(f"{hub.endpoint}/o/r/resolve/main/a.gguf", size_bytes, {"X-Mine": "1"}, "a.gguf")


async def fetched(hub: HubServer, path: Path, told: Told | None = None) -> bytes:
    async with serving(hub):
        with PartFile(path, resume=True) as part:
            await download(remote(hub), part, told or silent, AT_ONCE)
    return path.read_bytes()


async def test_a_file_arrives_whole_with_its_progress(hub: HubServer, tmp_path: Path) -> None:
    told = Told()
    assert await fetched(hub, tmp_path / "a.part", told) == DATA
    assert told.last("download") == (len(DATA), len(DATA))
    assert hub.ranges == [""]


async def test_cuts_are_continued_from_where_they_were(hub: HubServer, tmp_path: Path) -> None:
    hub.cut_at = [300_000, 0, 200_000]
    assert await fetched(hub, tmp_path / "a.part") == DATA
    starts = [int(asked[6:-1]) for asked in hub.ranges if asked]
    assert len(starts) == 3
    assert 0 < starts[0] <= starts[1] < starts[2]


async def test_an_earlier_process_part_is_continued(hub: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    path.write_bytes(DATA[:123_456])
    assert await fetched(hub, path) == DATA
    assert hub.ranges == ["bytes=123456-"]


async def test_a_server_without_ranges_sends_it_all_again(hub: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    path.write_bytes(b"x" * 1000)
    hub.ignore_ranges = True
    assert await fetched(hub, path) == DATA


async def test_a_part_that_is_too_long_starts_anew(hub: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    path.write_bytes(bytes(len(DATA) + 1))
    assert await fetched(hub, path) == DATA


async def test_another_range_than_asked_for_is_not_glued_on(hub: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    path.write_bytes(DATA[:1000])
    hub.wrong_range = True
    assert await fetched(hub, path) == DATA  # by starting over
    assert hub.ranges == ["bytes=1000-", ""]


async def test_attempts_that_bring_nothing_end_and_keep_what_is_there(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.cut_at = [400_000] + [0] * 20
    with pytest.raises(SourceError) as caught:
        await fetched(hub, tmp_path / "a.part")
    assert caught.value.error_id == "HX-0560"
    assert len(hub.ranges) < 8
    kept = (tmp_path / "a.part").read_bytes()
    assert kept
    assert DATA.startswith(kept)


async def test_more_bytes_than_announced_are_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.too_much = b"extra"
    with pytest.raises(SourceError, match="more than the 900000 bytes"):
        await fetched(hub, tmp_path / "a.part")
    assert not (tmp_path / "a.part").exists()


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 4), (429, 4)])
async def test_refusals_are_final_and_troubles_are_tried_again(
    hub: HubServer, tmp_path: Path, status: int, requests: int
) -> None:
    hub.refuse = status
    with pytest.raises(SourceError, match=f"answers {status}"):
        await fetched(hub, tmp_path / "a.part")
    assert len(hub.tokens) == requests


async def test_nobody_there_is_told(tmp_path: Path, hub: HubServer) -> None:
    async with serving(hub):
        gone = remote(hub)
    with PartFile(tmp_path / "a.part") as part, pytest.raises(SourceError) as caught:
        await download(gone, part, silent, AT_ONCE)
    assert caught.value.error_id == "HX-0560"
