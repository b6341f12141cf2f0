"""A plain aiohttp server that answers with what it understood: the reference for the edge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

FRAMING = frozenset({"content-length", "transfer-encoding"})


class Understood(msgspec.Struct):
    """A request as a server took it. How its body was framed shows in the body alone."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)


async def _echo(request: web.Request) -> web.Response:
    headers: dict[str, str] = {}
    for name, value in request.raw_headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in FRAMING:
            continue
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    understood = Understood(request.method, request.raw_path, headers, await request.read())
    return web.Response(body=understood.encoded(), content_type="application/json")


@asynccontextmanager
async def reference_gateway() -> AsyncIterator[tuple[str, int]]:
    """Serve on a free port of loopback; give its host and port."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{rest:.*}", _echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()
