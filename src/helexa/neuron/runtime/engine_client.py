"""The HTTP client for engines: pooled keep-alive connections, told by callbacks.

This is the neuron's hot path, so nothing is awaited per byte and no timer is set per request: one
sweep, which only runs while there is a connection, ends silent exchanges and idle connections.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from helexa.neuron.runtime.engine_connection import (
    ConnectionLimits,
    EngineConnection,
    Exchange,
    ExchangeError,
    ExchangeListener,
)
from helexa.util.tasks import TaskScope

_OWN_HEADERS: Final = frozenset({"host", "content-length", "connection", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Bounds of the client; all of them per endpoint, except the sweep."""

    connect_s: float = 10.0
    first_byte_s: float = 300.0
    """Silence that an exchange begins with; a caller may change it while the answer runs."""
    sweep_s: float = 0.25
    connections_max: int = 16_384
    idle_max: int = 64
    connection: ConnectionLimits = field(default_factory=ConnectionLimits)


class EngineRequest(msgspec.Struct, frozen=True):
    """One request to an engine. `endpoint` is its base URL (http, https, or unix:/path).

    `headers` are best the same for all requests of a model: so much of a head is kept, and only
    the trace is its own.
    """

    endpoint: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = {}
    method: str = "POST"
    traceparent: str = ""


class _Endpoint:
    """Where one base URL leads, and the connections to it."""

    def __init__(self, base: str) -> None:
        url = urlsplit(base)
        if url.scheme not in {"http", "https", "unix"}:
            raise ValueError(f"endpoint {base!r} is not http://, https:// or unix:/path")
        self.unix_path = url.path if url.scheme == "unix" else ""
        self.is_tls = url.scheme == "https"
        self.host = url.hostname or ""
        self.port = url.port or (443 if self.is_tls else 80)
        if not (self.unix_path or self.host):
            raise ValueError(f"endpoint {base!r} names no host")
        self.base_path = "" if self.unix_path else url.path.rstrip("/")
        authority = "localhost" if self.unix_path else url.netloc.rpartition("@")[2]
        self.host_header = _checked("endpoint", authority)
        self.open: set[EngineConnection] = set()
        self.connecting = 0
        self.idle: list[EngineConnection] = []


class EngineClient:
    """Sends requests to engines and calls their listeners.

    `tls` is the context for https endpoints; None trusts the system's authorities. Tasks (only
    used to open connections) belong to `tasks`, which the caller closes after `close()`.
    """

    def __init__(
        self,
        tasks: TaskScope,
        limits: ClientLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits if limits is not None else ClientLimits()
        self._tasks = tasks
        self._tls = tls
        self._endpoints: dict[str, _Endpoint] = {}
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._swept_s = 0.0
        self._closed = False

    def request(self, request: EngineRequest, listener: ExchangeListener) -> Exchange:
        """Send a request; `listener` is told of its answer, never before this returns.

        Raises ValueError where endpoint, path or a header could not be sent as one HTTP request.
        """
        endpoint = self._endpoints.get(request.endpoint) or self._endpoint(request.endpoint)
        payload = _payload(endpoint, request)
        exchange = Exchange(listener, self.limits.first_byte_s)
        if self._closed:
            asyncio.get_running_loop().call_soon(
                exchange.fail, ExchangeError.CLOSED, "the neuron is stopping"
            )
            return exchange
        idle = endpoint.idle
        while idle:
            connection = idle.pop()
            if connection.is_alive():
                connection.start(exchange, payload)
                return exchange
            connection.abort()
        if len(endpoint.open) + endpoint.connecting >= self.limits.connections_max:
            text = f"{request.endpoint} has {self.limits.connections_max} connections already"
            asyncio.get_running_loop().call_soon(exchange.fail, ExchangeError.CROWDED, text)
            return exchange
        endpoint.connecting += 1
        work = self._connect(endpoint, exchange, payload)
        exchange.task = self._tasks.start(work, f"connect {request.endpoint}")
        return exchange

    def forget(self, base: str) -> None:
        """Close the idle connections to an endpoint whose engine is gone."""
        endpoint = self._endpoints.get(base)
        while endpoint is not None and endpoint.idle:
            endpoint.idle.pop().abort()

    def close(self) -> None:
        """End every exchange by `ExchangeError.CLOSED` and close every connection."""
        self._closed = True
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        for endpoint in self._endpoints.values():
            for connection in tuple(endpoint.open):
                exchange = connection.exchange
                connection.abort()
                if exchange is not None:
                    exchange.fail(ExchangeError.CLOSED, "the neuron is stopping")

    @property
    def connection_count(self) -> int:
        """Open connections, idle ones among them."""
        return sum(len(endpoint.open) for endpoint in self._endpoints.values())

    # ── connections ───────────────────────────────────────────────────────────────────────────

    def _endpoint(self, base: str) -> _Endpoint:
        endpoint = self._endpoints[base] = _Endpoint(base)
        return endpoint

    async def _connect(self, endpoint: _Endpoint, exchange: Exchange, payload: bytes) -> None:
        """Open a connection for an exchange; whatever happens, the exchange is told."""
        try:
            try:
                async with asyncio.timeout(self.limits.connect_s):
                    connection = await self._open(endpoint)
            finally:
                endpoint.connecting -= 1
        except TimeoutError:
            text = f"no connection within {self.limits.connect_s:g} s"
            exchange.fail(ExchangeError.CONNECT_TIMEOUT, text)
        except OSError as error:  # refused, unreachable, no such name, and every TLS failure
            exchange.fail(ExchangeError.CONNECT_FAILED, f"cannot connect: {error}")
        except asyncio.CancelledError:
            exchange.fail(ExchangeError.CLOSED, "the neuron is stopping")
            raise
        else:
            if self._closed or exchange.done:
                connection.abort()
                exchange.fail(ExchangeError.CLOSED, "the neuron is stopping")
            else:
                connection.start(exchange, payload)

    async def _open(self, endpoint: _Endpoint) -> EngineConnection:
        loop = asyncio.get_running_loop()

        def lost(connection: EngineConnection) -> None:
            endpoint.open.discard(connection)
            if connection in endpoint.idle:
                endpoint.idle.remove(connection)

        def free(connection: EngineConnection) -> None:
            if self._closed or len(endpoint.idle) >= self.limits.idle_max:
                connection.abort()
            else:
                endpoint.idle.append(connection)

        def protocol() -> EngineConnection:
            return EngineConnection(self.limits.connection, free, lost)

        connection: EngineConnection
        if endpoint.unix_path:
            _, connection = await loop.create_unix_connection(protocol, endpoint.unix_path)
        elif endpoint.is_tls:
            tls = self._tls_context()
            _, connection = await loop.create_connection(
                protocol, endpoint.host, endpoint.port, ssl=tls, server_hostname=endpoint.host
            )
        else:
            _, connection = await loop.create_connection(protocol, endpoint.host, endpoint.port)
        endpoint.open.add(connection)
        self._arm_sweep()
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    # ── the sweep ─────────────────────────────────────────────────────────────────────────────

    def _arm_sweep(self) -> None:
        if self._sweep_handle is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._swept_s = loop.time()
            self._sweep_handle = loop.call_later(self.limits.sweep_s, self._sweep)

    def _sweep(self) -> None:
        now_s = asyncio.get_running_loop().time()
        # A process that was stopped, or whose loop was blocked, did not listen: that time is not
        # the engine's silence.
        elapsed_s = min(now_s - self._swept_s, 2 * self.limits.sweep_s)
        self._swept_s = now_s
        self._sweep_handle = None
        for base, endpoint in tuple(self._endpoints.items()):
            for connection in tuple(endpoint.open):
                _age(connection, elapsed_s)
            if not endpoint.open and not endpoint.connecting:
                del self._endpoints[base]
        if self._endpoints:
            self._sweep_handle = asyncio.get_running_loop().call_later(
                self.limits.sweep_s, self._sweep
            )


def _age(connection: EngineConnection, elapsed_s: float) -> None:
    exchange = connection.exchange
    if exchange is None:
        connection.idle_quiet_s += elapsed_s
        if connection.idle_quiet_s > connection.idle_limit_s:
            connection.abort()
    elif not exchange.paused:
        exchange.quiet_s += elapsed_s
        if exchange.quiet_s > exchange.silence_limit_s:
            connection.silent(exchange)


def _checked(name: str, value: Any) -> str:
    """Return a part of a request head, if it cannot end its line or be another header."""
    text = str(value)
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{name} has characters that a request head cannot carry")
    return text


def _payload(endpoint: _Endpoint, request: EngineRequest) -> bytes:
    head = _head(
        endpoint.host_header,
        endpoint.base_path + request.path,
        request.method,
        tuple(request.headers.items()),
        "application/json" if request.body else "",
    )
    if request.traceparent:
        trace = _checked("traceparent", request.traceparent).encode("ascii")
        head = b"%btraceparent: %b\r\n" % (head, trace)
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(request.body), request.body)


@lru_cache(maxsize=256)
def _head(
    host: str, path: str, method: str, headers: tuple[tuple[str, str], ...], content_type: str
) -> bytes:
    """Return the lines of a request head that are the same for all requests of a model.

    `content_type` is used where the headers name none. Raises ValueError for what would not be
    one request.
    """
    if not path.startswith("/") or " " in path:
        raise ValueError(f"path {path!r} does not begin with / or has a space")
    lines = [
        f"{_checked('method', method)} {_checked('path', path)} HTTP/1.1",
        f"host: {host}",
        "accept-encoding: identity",
    ]
    named = False
    for name, value in headers:
        lowered = name.lower()
        if lowered in _OWN_HEADERS or ":" in name or " " in name:
            raise ValueError(f"header {name!r} cannot be set for an engine")
        named = named or lowered == "content-type"
        lines.append(f"{_checked('header', name)}: {_checked(name, value)}")
    if content_type and not named:
        lines.append(f"content-type: {content_type}")
    return "\r\n".join((*lines, "")).encode("ascii")
