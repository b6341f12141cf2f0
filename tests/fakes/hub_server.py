"""A model hub on loopback: the few answers that a download needs, and ways to misbehave."""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class HubServer:
    """Serves files by `org/repo/file` as a hub does: HEAD tells size and digest, GET gives bytes.

    cut_at: bytes after which the connection is cut, one entry per GET, in order
    refuse: status for every request, when set
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.cut_at: list[int] = []
        self.refuse: int | None = None
        self.ignore_ranges = False
        self.wrong_range = False
        self.garble = False
        self.too_much = b""
        self.small = False
        self.ranges: list[str] = []
        self.tokens: list[str] = []
        self.cdn = ""
        self.endpoint = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.refuse is not None:
            headers = {"X-Error-Code": "GatedRepo"} if self.refuse == 403 else {}
            return web.Response(status=self.refuse, headers=headers)
        match = re.fullmatch(r"/(?:cdn/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", request.path)
        data = self.files.get(f"{match[1]}/{match[2]}") if match else None
        if data is None:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(data).hexdigest() if not self.small else "abc123"
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": "c" * 40, "Accept-Ranges": "bytes"}
        if request.method == "HEAD":
            if self.cdn and not request.path.startswith("/cdn/"):
                headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
                return web.Response(
                    status=302, headers=headers | {"Location": f"{self.cdn}/cdn{request.path}"}
                )
            return web.Response(headers=headers | {"Content-Length": str(len(data))})
        return await self._send(request, data, headers)

    async def _send(
        self, request: web.Request, data: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        start, status = 0, 200
        if asked and not self.ignore_ranges:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            told = start + 1 if self.wrong_range else start
            headers["Content-Range"] = f"bytes {told}-{len(data) - 1}/{len(data)}"
        body = data[start:] + self.too_much
        if self.garble:
            body = bytes(byte ^ 1 for byte in body)
        answer = web.StreamResponse(
            status=status, headers=headers | {"Content-Length": str(len(body))}
        )
        await answer.prepare(request)
        if self.cut_at:
            await answer.write(body[: self.cut_at.pop(0)])
            assert request.transport is not None
            request.transport.close()
            return answer
        await answer.write(body)
        return answer


@asynccontextmanager
async def serving(hub: HubServer) -> AsyncIterator[HubServer]:
    """Run the hub on a free loopback port; its address is in `endpoint`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hub._answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        hub.endpoint = f"http://127.0.0.1:{port}"
        yield hub
    finally:
        await runner.cleanup()
