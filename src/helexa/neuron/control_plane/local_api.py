"""The neuron's own API for tools on its machine: `/health`, `/status`, `/version`, `/metrics`.

Read only. It asks nobody for a key, so on loopback it answers only to loopback names: a web page
that had its name point at 127.0.0.1 gets a 403 (DNS rebinding).
"""

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from helexa.protocol.errors import ErrorCode, Refusal, envelope
from helexa.protocol.neuron import NeuronHealth
from helexa.protocol.version import VERSION
from helexa.util.build import identity
from helexa.util.errors import LimitError
from helexa.util.metrics import CONTENT_TYPE

CONNECTIONS_MAX: Final = 64
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", ""})
_JSON: Final = "application/json"
_ROUTES: Final = "/health, /status, /version and /metrics"
_encode: Final = msgspec.json.Encoder().encode


def make_app(
    health: Callable[[], NeuronHealth],
    status: Callable[[], object],
    metrics: Callable[[], Awaitable[bytes]] | None,
) -> Starlette:
    """Return the application; each callable is asked anew for each request.

    `status` returns anything that JSON can be made of. Without `metrics` there is no `/metrics`.
    """

    async def tell_health(_request: Request) -> Response:
        problems = health().problems
        body = {"status": "impaired", "problems": problems} if problems else {"status": "ok"}
        return Response(_encode(body), media_type=_JSON)

    async def tell_status(_request: Request) -> Response:
        return Response(_encode(status()), media_type=_JSON)

    async def tell_metrics(_request: Request) -> Response:
        assert metrics is not None
        return Response(await metrics(), headers={"content-type": CONTENT_TYPE})

    async def tell_version(_request: Request) -> Response:
        return Response(_encode({**identity(), "protocol": VERSION}), media_type=_JSON)

    routes = [
        Route("/health", tell_health),
        Route("/status", tell_status),
        Route("/version", tell_version),
    ]
    if metrics is not None:
        routes.append(Route("/metrics", tell_metrics))
    return Starlette(routes=routes, exception_handlers={HTTPException: _tell_error})


async def _tell_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        refusal = Refusal(ErrorCode.METHOD_NOT_ALLOWED, f"{request.url.path} is only for reading")
    else:
        refusal = Refusal(ErrorCode.ROUTE_NOT_FOUND, f"the routes are {_ROUTES}")
    return Response(envelope(refusal), refusal.status, error.headers, _JSON)


class LoopbackOnly:
    """Answers only requests whose Host is this machine's loopback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the Host header, then hand on."""
        if scope["type"] == "http" and not _is_loopback_name(scope["headers"]):
            refusal = Refusal(ErrorCode.PERMISSION_DENIED, "this API answers to localhost only")
            await Response(envelope(refusal), refusal.status, media_type=_JSON)(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)


def _is_loopback_name(headers: list[tuple[bytes, bytes]]) -> bool:
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        return not hosts
    name, colon, port = hosts[0].rpartition(":")
    if not colon or not port.isdigit():
        name = hosts[0]
    return name.lower() in _LOOPBACK_NAMES


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises LimitError where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not host else 1)
        listener.bind((host or "::", port))
        listener.listen(CONNECTIONS_MAX)
        listener.setblocking(False)  # noqa: FBT003  (positional only)
    except OSError as error:
        listener.close()
        raise LimitError(
            f"the neuron's API cannot listen on {host}:{port}: {error.strerror}",
            error_id="HX-2403",
            hint="choose another address with --api-socket, or --api-socket off",
        ) from error
    return listener


class ApiServer(uvicorn.Server):
    """uvicorn, without signal handlers: those are the app's."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http="httptools",
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=2,
            )
        )
        self._listener = listener

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    async def run_until_stopped(self) -> None:
        """Serve until `stop`; the socket is closed afterwards."""
        try:
            await self.serve(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        """Stop within about two seconds."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def guarded(app: ASGIApp, *, loopback: bool) -> Any:
    """Return the application behind the Host check where it listens on loopback."""
    return LoopbackOnly(app) if loopback else app
