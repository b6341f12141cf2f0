"""The portal's routes, on Starlette: one page and its style sheet."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.cortex.portal.page import STYLE, page

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def portal_app(
    snapshot: Callable[[], FleetSnapshot], monotonic: Callable[[], float], version: str
) -> Starlette:
    """Return the portal as an ASGI app."""

    async def index(_request: Request) -> Response:
        html = page(snapshot(), monotonic(), version)
        return Response(html, headers=_HEADERS, media_type="text/html")

    async def style(_request: Request) -> Response:
        return Response(STYLE, headers=_HEADERS, media_type="text/css")

    async def health(_request: Request) -> Response:
        return Response(b'{"status":"ok"}', headers=_HEADERS, media_type="application/json")

    return Starlette(
        routes=[Route("/", index), Route("/style.css", style), Route("/health", health)]
    )
