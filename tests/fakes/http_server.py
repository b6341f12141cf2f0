"""A small HTTP server on the test's own event loop; answers as the test says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Served:
    """Where it listens, and what it was asked: method, path, headers."""

    endpoint: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


Answerer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answerer) -> AsyncIterator[Served]:
    """Serve on a free loopback port while the block runs."""
    served = Served()

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        served.asked.append((request.method, request.path, headers))
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    served.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield served
    finally:
        await runner.cleanup()
