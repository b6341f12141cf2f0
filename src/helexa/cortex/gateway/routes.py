"""Which paths and methods there are, and the small answers that need no neuron."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import msgspec

from helexa import __version__
from helexa.cortex.gateway import headers, models_view
from helexa.cortex.gateway.auth import credential_of
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.openapi import description
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.dialects.dialect import DIALECT_OF, OPENAI, Dialect
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Authenticator, Scope
from helexa.protocol.version import VERSION
from helexa.protocol.workload import Operation
from helexa.util.build import identity
from helexa.util.metrics import CONTENT_TYPE

_encoder: Final = msgspec.json.Encoder()
OPERATIONS: Final = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/v1/responses": Operation.RESPONSES,
    "/v1/messages": Operation.MESSAGES,
    "/v1/messages/count_tokens": Operation.COUNT_TOKENS,
}
_MODEL_PREFIX: Final = "/v1/models/"
_METRICS: Final = "/metrics"
_INFERENCE: Final = Scope.INFERENCE  # looking a member up costs more than asking for it
_METRICS_SCOPES: Final = frozenset({Scope.READ})
_SCOPES: Final = frozenset({Scope.INFERENCE, Scope.READ})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the small answers are made of."""

    snapshot: Callable[[], FleetSnapshot]
    draining: Callable[[], bool]
    metrics: Callable[[], bytes] | None
    """None: no metrics are served here."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the head of an inference request says by itself; only the key is looked at again."""

    operation: Operation
    dialect: Dialect
    credential: bytes | None


Answer = tuple[int, bytes, bytes]
"""Status, header lines, body."""


def _json(status: int, body: object) -> Answer:
    return status, headers.JSON, _encoder.encode(body)


class Routes:
    """The table of paths. Auth is bound to the matched route, never to the text of the path."""

    def __init__(
        self, facts: Facts, authenticator: Authenticator, cors_origins: tuple[str, ...] = ()
    ) -> None:
        self._facts = facts
        self._authenticator = authenticator
        self._cors_origins = frozenset(origin.encode() for origin in cors_origins)
        self._public: dict[str, Callable[[], Answer]] = {
            "/": self._root,
            "/health": self._health,
            "/readyz": self._ready,
            "/version": self._version,
            "/openapi.json": self._openapi,
        }
        self._private: dict[str, Callable[[], Answer]] = {"/v1/models": self._models}
        if facts.metrics is not None:
            self._private[_METRICS] = self._metrics
        self._openapi_body = json.dumps(description()).encode()

    def admit(self, exchange: Exchange) -> Refusal | None:
        """Judge a request by its head alone, before its body is read."""
        judged = exchange.judged
        if isinstance(judged, Judged):
            return self._admit_known(exchange, judged)
        path, method = exchange.path, exchange.method
        operation = OPERATIONS.get(path)
        if operation is not None:
            if method == "POST":
                return self._admit_body(exchange, operation)
            return None if method == "OPTIONS" else self._wrong_method(method)
        if path not in self._public and path not in self._private and not _names_model(path):
            known = ", ".join([*OPERATIONS, *self._private])
            return Refusal(ErrorCode.ROUTE_NOT_FOUND, f"there is no {path[:200]}; try {known}")
        if method not in {"GET", "HEAD", "OPTIONS"}:
            return self._wrong_method(method)
        if method != "OPTIONS" and path not in self._public:
            return self._admit_reader(exchange, _METRICS_SCOPES if path == _METRICS else _SCOPES)
        return None

    @staticmethod
    def dialect_of(path: str) -> Dialect:
        """Return the dialect in which a request to this path is refused."""
        operation = OPERATIONS.get(path)
        return OPENAI if operation is None else DIALECT_OF[operation]

    def allowed(self, path: str) -> bytes:
        """Return the value of the Allow header of a path."""
        return b"POST, OPTIONS" if path in OPERATIONS else b"GET, HEAD, OPTIONS"

    def _admit_known(self, exchange: Exchange, judged: Judged) -> Refusal | None:
        principal = self._authenticator.authenticate(judged.credential, exchange.peer)
        if isinstance(principal, Refusal):
            return principal
        if _INFERENCE not in principal.scopes:
            return Refusal(ErrorCode.PERMISSION_DENIED, "this takes a key with the scope inference")
        exchange.context = principal
        return None

    def _admit_reader(self, exchange: Exchange, wanted: frozenset[Scope]) -> Refusal | None:
        credential = credential_of(exchange.headers)
        principal = self._authenticator.authenticate(credential, exchange.peer)
        if isinstance(principal, Refusal):
            return principal
        if principal.scopes & wanted:
            return None
        names = " or ".join(sorted(scope.value for scope in wanted))
        because = f"this takes a key with the scope {names}"
        return Refusal(ErrorCode.PERMISSION_DENIED, because)

    def _admit_body(self, exchange: Exchange, operation: Operation) -> Refusal | None:
        dialect = DIALECT_OF[operation]
        judged = Judged(operation, dialect, credential_of(exchange.headers))
        refusal = self._admit_known(exchange, judged)
        if refusal is not None:
            return refusal
        coding = exchange.headers.get(b"content-encoding")
        if coding is not None and coding.strip().lower() not in {b"", b"identity"}:
            because = f"content-encoding {coding[:40]!r} is not accepted; send the body as it is"
            return Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, because)
        kind = exchange.headers.get(b"content-type")
        if kind is not None and not _is_json(kind):
            because = f"content-type {kind[:80]!r} is not accepted; send application/json"
            return Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, because)
        exchange.judged = judged
        return None

    @staticmethod
    def _wrong_method(method: str) -> Refusal:
        return Refusal(
            ErrorCode.METHOD_NOT_ALLOWED, f"{method[:20]} is not allowed here; see Allow"
        )

    # ── answers ───────────────────────────────────────────────────────────────────────────────

    def answer(self, exchange: Exchange) -> Answer | Refusal:
        """Answer a request that needs no neuron."""
        path = exchange.path
        if exchange.method == "OPTIONS":
            return 204, b"allow: " + self.allowed(path) + b"\r\n", b""
        plain = self._public.get(path) or self._private.get(path)
        return plain() if plain is not None else self._model(unquote(path[len(_MODEL_PREFIX) :]))

    def cors_lines(self, exchange: Exchange) -> bytes:
        """Return the lines that let a configured web origin read the answer; b"" for all others."""
        origin = exchange.headers.get(b"origin") if self._cors_origins else None
        if origin is None or origin not in self._cors_origins:
            return b""
        lines = b"access-control-allow-origin: " + origin + b"\r\nvary: origin\r\n"
        if exchange.method == "OPTIONS":
            lines += (
                b"access-control-allow-methods: " + self.allowed(exchange.path) + b"\r\n"
                # "*" covers what client libraries send of their own, but never `authorization`.
                b"access-control-allow-headers: authorization, *\r\n"
                b"access-control-max-age: 600\r\n"
            )
        return lines + b"access-control-expose-headers: x-request-id, retry-after\r\n"

    def _root(self) -> Answer:
        return _json(200, {"name": "helexa", "version": __version__, "openapi": "/openapi.json"})

    def _health(self) -> Answer:
        return _json(200, {"status": "ok"})

    def _ready(self) -> Answer:
        snapshot = self._facts.snapshot()
        # Only how many: this route asks nobody for a key, and names are for holders of one.
        states = [models_view.state_of(v) for v in snapshot.models.values() if not v.replicas]
        waiting = {state: states.count(state) for state in sorted(set(states))}
        if self._facts.draining():
            return _json(503, {"status": "draining"})
        if snapshot.models and len(states) == len(snapshot.models):
            return _json(503, {"status": "not ready", "models": waiting})
        return _json(200, {"status": "ready", "not_loaded": waiting})

    def _version(self) -> Answer:
        return _json(200, {**identity(), "protocol": VERSION})

    def _openapi(self) -> Answer:
        return 200, headers.JSON, self._openapi_body

    def _metrics(self) -> Answer:
        render = self._facts.metrics
        assert render is not None, "a route without its metrics"
        return 200, f"content-type: {CONTENT_TYPE}\r\n".encode(), render()

    def _models(self) -> Answer:
        return _json(200, models_view.listing(self._facts.snapshot()))

    def _model(self, name: str) -> Answer | Refusal:
        found = models_view.entry(self._facts.snapshot(), name)
        if found is None:
            return Refusal(ErrorCode.MODEL_NOT_FOUND, f"the model {name[:200]!r} does not exist")
        return _json(200, found)


def _names_model(path: str) -> bool:
    return path.startswith(_MODEL_PREFIX) and len(path) > len(_MODEL_PREFIX)


def _is_json(kind: bytes) -> bool:
    # Types that a web page can send across origins without asking (text/plain, forms) are refused:
    # else any page could make a visitor's browser use the gateway on that visitor's machine.
    if kind == b"application/json":
        return True
    essence = kind.partition(b";")[0].strip().lower()
    return essence == b"application/json" or (
        essence.startswith(b"application/") and essence.endswith(b"+json")
    )
