"""Paths, methods, and the answers that need no neuron."""

import hashlib
import json
from typing import Any

import pytest

from helexa.cortex.gateway.auth import OpenDoor, StaticKeys
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.routes import Facts, Routes
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Authenticator, Principal, Scope
from helexa.protocol.version import VERSION
from helexa.util.build import identity
from tests.fakes.gateway import Caller, exchange_of, snapshot_of


class Key:
    key_id, name = "k1", "alice"
    digest = hashlib.sha256(b"s3cret").digest()


def routes(authenticator: Authenticator | None = None, **facts: Any) -> Routes:
    given = {"snapshot": lambda: snapshot_of("n1"), "draining": lambda: False, "metrics": None}
    return Routes(
        Facts(**(given | facts)), authenticator or OpenDoor(), ("https://chat.example.org",)
    )


def ask(method: str, path: str, **headers: bytes) -> Exchange:
    lines = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return exchange_of(Caller(), method, path, lines)


def body_of(answer: Any) -> Any:
    assert not isinstance(answer, Refusal)
    return json.loads(answer[2])


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/chat/completions", ErrorCode.METHOD_NOT_ALLOWED),
        ("DELETE", "/v1/models", ErrorCode.METHOD_NOT_ALLOWED),
        ("POST", "/health", ErrorCode.METHOD_NOT_ALLOWED),
        ("GET", "/nope", ErrorCode.ROUTE_NOT_FOUND),
        ("GET", "/v1/models/", ErrorCode.ROUTE_NOT_FOUND),
        ("GET", "/V1/models", ErrorCode.ROUTE_NOT_FOUND),
        ("GET", "//v1/models", ErrorCode.ROUTE_NOT_FOUND),
        ("GET", "/v1/models;x", ErrorCode.ROUTE_NOT_FOUND),
        ("GET", "/metrics", ErrorCode.ROUTE_NOT_FOUND),
    ],
)
def test_wrong_paths_and_methods_are_refused_by_the_head_alone(
    method: str, path: str, code: ErrorCode
) -> None:
    refusal = routes().admit(ask(method, path))
    assert isinstance(refusal, Refusal)
    assert refusal.code is code


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m", "/metrics", "/v1/chat/completions"])
def test_what_needs_a_key_is_refused_before_its_body_is_read(path: str) -> None:
    table = routes(StaticKeys([Key()]), metrics=lambda: b"")
    method = "POST" if path.endswith("completions") else "GET"
    refusal = table.admit(ask(method, path))
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.INVALID_API_KEY
    assert table.admit(ask(method, path, authorization=b"Bearer s3cret")) is None


def test_a_head_is_judged_once_and_its_key_each_time() -> None:
    """A key that is revoked between two requests of one connection opens nothing any more."""
    allowed = [Key()]

    class Keys:
        def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
            return StaticKeys(allowed).authenticate(credential)

    table = routes(Keys())
    first = ask("POST", "/v1/chat/completions", authorization=b"Bearer s3cret")
    assert table.admit(first) is None
    assert first.judged is not None
    second = ask("POST", "/v1/chat/completions", authorization=b"Bearer s3cret")
    second.judged = first.judged
    assert table.admit(second) is None
    assert isinstance(second.context, Principal)
    allowed.clear()
    refusal = table.admit(second)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.INVALID_API_KEY


@pytest.mark.parametrize(
    ("scope", "doors"),
    [
        (Scope.INFERENCE, {"/v1/chat/completions", "/v1/models", "/v1/models/m"}),
        (Scope.READ, {"/metrics", "/v1/models", "/v1/models/m"}),
        (Scope.ADMIN, set()),
    ],
)
def test_a_scope_opens_its_own_doors_and_no_other(scope: Scope, doors: set[str]) -> None:
    """S07."""
    seen: list[str] = []

    class Keys:
        def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
            seen.append(peer)
            return Principal(key_id="k", scopes=frozenset({scope}))

    table = routes(Keys(), metrics=lambda: b"")
    for path in ("/v1/chat/completions", "/v1/models", "/v1/models/m", "/metrics"):
        asked = ask("POST" if path.endswith("completions") else "GET", path)
        refusal = table.admit(asked)
        if path in doors:
            assert refusal is None
        else:
            assert isinstance(refusal, Refusal)
            assert (refusal.code, asked.context) == (ErrorCode.PERMISSION_DENIED, None)
            assert "scope" in refusal.because
        assert seen[-1] == asked.peer


def test_a_head_that_is_refused_is_judged_again_each_time() -> None:
    refused = ask("POST", "/v1/chat/completions", content_type=b"text/plain")
    assert isinstance(routes().admit(refused), Refusal)
    assert refused.judged is None


@pytest.mark.parametrize("path", ["/", "/health", "/readyz", "/version", "/openapi.json"])
def test_health_and_version_are_public(path: str) -> None:
    table = routes(StaticKeys([Key()]))
    for method in ("GET", "HEAD", "OPTIONS"):
        assert table.admit(ask(method, path)) is None


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"content_type": b"application/json; charset=utf-8"}, True),
        ({"content_type": b"Application/JSON"}, True),
        ({"content_type": b"application/vnd.api+json"}, True),
        ({"content_type": b"text/plain"}, False),
        ({"content_type": b"application/x-www-form-urlencoded"}, False),
        ({"content_type": b"multipart/form-data"}, False),
        ({"content_encoding": b"gzip"}, False),
        ({"content_encoding": b"identity"}, True),
    ],
)
def test_bodies_of_other_types_and_codings_are_415(
    headers: dict[str, bytes], accepted: bool
) -> None:
    """S19, S25: what a web page can send unasked, and what unpacks to more, is refused."""
    refusal = routes().admit(ask("POST", "/v1/embeddings", **headers))
    assert (refusal is None) == accepted
    if refusal is not None:
        assert refusal.code is ErrorCode.UNSUPPORTED_MEDIA_TYPE


def test_models_are_listed_and_named() -> None:
    table = routes()
    assert [item["id"] for item in body_of(table.answer(ask("GET", "/v1/models")))["data"]] == [
        "alias",
        "m",
    ]
    assert body_of(table.answer(ask("GET", "/v1/models/m")))["id"] == "m"
    missing = table.answer(ask("GET", "/v1/models/org%2Fnope"))
    assert isinstance(missing, Refusal)
    assert "org/nope" in missing.because


def test_the_version_is_the_builds_identity() -> None:
    """Lesson 60."""
    told = body_of(routes().answer(ask("GET", "/version")))
    assert told == {**identity(), "protocol": VERSION}


def test_readiness_follows_the_models_and_the_drain() -> None:
    def status(**facts: Any) -> int:
        answer = routes(**facts).answer(ask("GET", "/readyz"))
        assert not isinstance(answer, Refusal)
        return answer[0]

    assert status() == 200
    assert status(snapshot=lambda: snapshot_of(loading=True)) == 503
    assert status(draining=lambda: True) == 503


def test_readiness_counts_and_names_nothing() -> None:
    """It asks nobody for a key, so it must not tell the names that `/v1/models` keeps."""
    loading = routes(snapshot=lambda: snapshot_of(loading=True)).answer(ask("GET", "/readyz"))
    assert body_of(loading) == {"status": "not ready", "models": {"loading": 1}}
    assert body_of(routes().answer(ask("GET", "/readyz"))) == {"status": "ready", "not_loaded": {}}


def test_health_says_that_the_process_lives_whatever_the_models_do() -> None:
    table = routes(snapshot=lambda: snapshot_of())
    assert body_of(table.answer(ask("GET", "/health"))) == {"status": "ok"}


def test_metrics_are_served_where_there_are_some() -> None:
    """R1.42: Prometheus text on cortex."""
    answer = routes(metrics=lambda: b"helexa_x 1\n").answer(ask("GET", "/metrics"))
    assert not isinstance(answer, Refusal)
    assert (answer[0], answer[2]) == (200, b"helexa_x 1\n")
    assert answer[1].startswith(b"content-type: text/plain; version=0.0.4")


def test_options_says_what_is_allowed() -> None:
    answer = routes().answer(ask("OPTIONS", "/v1/embeddings"))
    assert answer == (204, b"allow: POST, OPTIONS\r\n", b"")


def test_only_configured_origins_may_read_answers_in_a_browser() -> None:
    """S20: deny by default, and never reflect an origin."""
    table = routes()
    kept = table.cors_lines(ask("OPTIONS", "/v1/models", origin=b"https://chat.example.org"))
    assert b"access-control-allow-origin: https://chat.example.org\r\n" in kept
    assert b"access-control-allow-methods: GET" in kept
    headers = kept.split(b"access-control-allow-headers: ")[1].split(b"\r\n")[0]
    assert headers == b"authorization, *", "openai-node sends headers of its own from browsers"
    assert table.cors_lines(ask("GET", "/v1/models", origin=b"https://evil.example")) == b""
    assert b"allow-credentials" not in kept
