"""Single questions to an engine beside its requests: is it well, does it serve, what does it tell.

Each is a connection of its own, so that it says something of new connections, too. Redirects are
not followed, cookies not kept, and an answer is read up to a bound.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp

from helexa.neuron.registry.commands import RunningModel

ANSWER_BYTES_MAX: Final = 64 << 10
ASKING_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError)
"""What `ask` raises where there is no answer."""


class EngineAsker:
    """Asks engines; what it may wait for is said with each question."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        method: str,
        model: RunningModel,
        path: str,
        body: bytes | None,
        limit_s: float,
        *,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> tuple[int, bytes]:
        """Return status and body, cut off after `bytes_max`; raises one of ASKING_ERRORS."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(force_close=True),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        headers: Mapping[str, str] = {"content-type": "application/json", **model.headers}
        async with (
            asyncio.timeout(limit_s),
            self._session.request(
                method, model.endpoint + path, data=body, headers=headers, allow_redirects=False
            ) as response,
        ):
            return response.status, await _read(response.content, bytes_max)


async def _read(content: aiohttp.StreamReader, bytes_max: int) -> bytes:
    body = b""
    while len(body) < bytes_max:
        data = await content.read(bytes_max - len(body))
        if not data:
            break
        body += data
    return body
