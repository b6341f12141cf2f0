"""Keys at the admin API: who is asking, and whether they may.

What only reads (GET, HEAD) takes the scope `read` or `admin`, everything else `admin`; `/health`
takes none. It goes by the method and not by a list of routes, so no new route can be forgotten.
Where no key is asked for, whoever sends a good one is still known by it in the audit log.
"""

from typing import Final

from helexa.cortex.admin.hosts import App, Receive, Scope, Send
from helexa.cortex.gateway.auth import credential_of
from helexa.protocol.errors import CODES, ErrorCode, Refusal, envelope
from helexa.protocol.ports import Authenticator, Principal
from helexa.protocol.ports import Scope as KeyScope

PUBLIC: Final = frozenset({"/health"})
PRINCIPAL: Final = "helexa.principal"
_READING: Final = frozenset({"GET", "HEAD"})
_READERS: Final = frozenset({KeyScope.READ, KeyScope.ADMIN})
_CHANGERS: Final = frozenset({KeyScope.ADMIN})


class KeyGuard:
    """Wraps an ASGI app: notes who asks, and with `asks` refuses whoever may not."""

    def __init__(self, app: App, authenticator: Authenticator, *, asks: bool) -> None:
        self._app = app
        self._authenticator = authenticator
        self._asks = asks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await _refuse(send, refusal)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        credential = credential_of(dict(scope["headers"]))
        if not self._asks and credential is None:
            return None
        peer = scope.get("client")
        principal = self._authenticator.authenticate(credential, peer[0] if peer else "")
        if isinstance(principal, Principal):
            scope[PRINCIPAL] = principal
        if not self._asks or scope["path"] in PUBLIC:
            return None
        if isinstance(principal, Refusal):
            return principal
        wanted = _READERS if scope["method"] in _READING else _CHANGERS
        if principal.scopes & wanted:
            return None
        names = " or ".join(sorted(each.value for each in wanted))
        because = f"this takes a key with the scope {names}"
        return Refusal(ErrorCode.PERMISSION_DENIED, because)


async def _refuse(send: Send, refusal: Refusal) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if refusal.code is ErrorCode.INVALID_API_KEY:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    status = CODES[refusal.code].status
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": envelope(refusal)})
