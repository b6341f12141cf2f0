"""Getting one file over HTTP into a `.part` file, continuing where an earlier attempt ended.

A cut connection is tried again from the byte where it was cut, for as long as each attempt brings
something new. The server's answer must fit the range that was asked for; a body longer than
announced is refused. What the bytes are is checked elsewhere, by digest.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from helexa.model_runtime.models.disk import PartFile
from helexa.model_runtime.models.worker import Progress
from helexa.util.backoff import Backoff
from helexa.util.errors import SourceError

ATTEMPTS_WITHOUT_PROGRESS_MAX: Final = 4
CONNECT_TIMEOUT_S: Final = 15.0
SILENCE_TIMEOUT_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 18
_REDIRECTS_MAX: Final = 5
_RETRIED: Final = (408, 425, 429, 500, 502, 503, 504)
_PARTIAL, _WHOLE, _OUT_OF_RANGE = 206, 200, 416


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to get: its size is known before."""

    url: str
    size_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


class _AgainError(Exception):
    """This attempt brought nothing or ended early; another may do better."""


async def download(remote: Remote, part: PartFile, progress: Progress, backoff: Backoff) -> None:
    """Fill `part` up to the remote file's size.

    Raises SourceError: HX-0560 when the server refuses or keeps failing, HX-0530 when the disk is
    full. What has arrived stays in the part file.
    """
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
    )
    failures = 0
    progress("download", part.size_bytes, remote.size_bytes)
    async with aiohttp.ClientSession(
        timeout=timeout, trust_env=True, auto_decompress=False
    ) as session:
        while part.size_bytes != remote.size_bytes:
            before = part.size_bytes
            try:
                await _attempt(session, remote, part, progress)
            except (_AgainError, aiohttp.ClientError, TimeoutError) as error:
                failures = 1 if part.size_bytes > before else failures + 1
                if failures >= ATTEMPTS_WITHOUT_PROGRESS_MAX:
                    raise _failed(remote, str(error) or type(error).__name__) from error
                await asyncio.sleep(backoff.bound_s(failures - 1))
    progress("download", part.size_bytes, remote.size_bytes)


async def _attempt(
    session: aiohttp.ClientSession, remote: Remote, part: PartFile, progress: Progress
) -> None:
    if part.size_bytes > remote.size_bytes:
        part.restart()
    start = part.size_bytes
    # Compressed, a range would mean something else.
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    async with session.get(remote.url, headers=headers, max_redirects=_REDIRECTS_MAX) as answer:
        _require_usable(answer, remote, part, start)
        async for piece in answer.content.iter_chunked(_CHUNK_BYTES):
            if part.size_bytes + len(piece) > remote.size_bytes:
                part.discard()
                raise _failed(remote, f"it sends more than the {remote.size_bytes} bytes it said")
            # A buffered write to a local disk: a fraction of a millisecond for 256 KiB.
            part.write(piece)
            progress("download", part.size_bytes, remote.size_bytes)
    if part.size_bytes < remote.size_bytes:
        raise _AgainError(f"the answer ended at byte {part.size_bytes} of {remote.size_bytes}")


def _require_usable(
    answer: aiohttp.ClientResponse, remote: Remote, part: PartFile, start: int
) -> None:
    if answer.status == _PARTIAL and start:
        if answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            return
        part.restart()
        raise _AgainError("the server sent another range than was asked for")
    if answer.status == _WHOLE:
        part.restart()  # It knows no ranges: everything comes again.
        return
    if answer.status == _OUT_OF_RANGE:
        part.restart()
        raise _AgainError("the server has fewer bytes than before")
    if answer.status in _RETRIED:
        raise _AgainError(f"the server answers {answer.status}")
    raise _failed(remote, f"the server answers {answer.status}")


def _failed(remote: Remote, reason: str) -> SourceError:
    return SourceError(
        f"cannot download {remote.name}: {reason}",
        error_id="HX-0560",
        hint="Try again: what has arrived is kept, and the download continues from there.",
    )
