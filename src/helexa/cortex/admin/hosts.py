"""Which Host headers an API without keys answers to.

A web page can make a browser ask a name of its own that resolves to 127.0.0.1, and then read the
answer (DNS rebinding). Such a request names the page's host; ours name an address or `localhost`.
"""

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from helexa.protocol.errors import CODES, ErrorCode, Refusal, envelope

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODY: Final = envelope(
    Refusal(
        ErrorCode.MISDIRECTED_REQUEST,
        "this API answers to its address or localhost, not to other names",
    )
)
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"connection", b"close"),
]


class HostGuard:
    """Wraps an ASGI app; a request for another host is answered 421 before the app sees it."""

    def __init__(self, app: App, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] == "http" and not (len(hosts) == 1 and self._is_ours(hosts[0])):
            status = CODES[ErrorCode.MISDIRECTED_REQUEST].status
            await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})
            return
        await self._app(scope, receive, send)

    def _is_ours(self, header: bytes) -> bool:
        name = host_of(header.decode("latin-1"))
        if name in {"localhost", self._host}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def host_of(header: str) -> str:
    """Return the host of a Host header in lower case, without its port or brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        inside, _, port = text[1:].partition("]")
        return inside if not port or port.startswith(":") else text
    return text.rsplit(":", 1)[0] if text.count(":") == 1 else text
