"""Writes by the admin API: who may, what is read, what is logged."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from helexa.cortex.admin.hosts import HostGuard
from helexa.cortex.admin.writes import BODY_BYTES_MAX, WriteBody, Writes
from helexa.cortex.orchestrator.events import Event, Tick
from helexa.protocol.errors import ErrorCode, Refusal
from tests.fakes.control_plane import recording_logger

JSON = {"content-type": "application/json"}


class Sized(WriteBody, frozen=True, kw_only=True):
    size: int


class World:
    def __init__(self) -> None:
        self.reported: list[Event] = []
        self.log: list[dict[str, Any]] = []
        writes = Writes(self.reported.append, recording_logger(self.log))

        def change(path: Any, body: Sized) -> Any:
            if body.size > 9:
                return Refusal(ErrorCode.INVALID_REQUEST_BODY, f"size is {body.size}; at most 9")
            return {"id": path["id"], "size": body.size}, [Tick()]

        route = Route("/things/{id}", writes.endpoint(Sized, change), methods=["POST"])
        app = HostGuard(Starlette(routes=[route]), "127.0.0.1")
        self.client = TestClient(app, base_url="http://127.0.0.1:8040")

    def post(self, content: str | bytes = '{"size": 3}', **headers: str) -> Any:
        return self.client.post("/things/x", content=content, headers=JSON | headers)


def code_of(answer: Any) -> str:
    error = answer.json()["error"]
    assert error["message"]
    assert error["type"]
    return str(error["code"])


def test_a_write_is_answered_reported_and_one_line_in_the_log() -> None:
    world = World()
    answer = world.post('{"size": 3, "cause": "disk change"}')
    assert (answer.status_code, answer.json()) == (200, {"id": "x", "size": 3})
    assert world.reported == [Tick()]
    (line,) = world.log
    assert (line["event"], line["path"], line["cause"]) == (
        "admin_write", "/things/x", "disk change",
    )  # fmt: skip


def test_a_refused_write_changes_nothing_and_is_logged() -> None:
    world = World()
    answer = world.post('{"size": 10}')
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request_body")
    assert world.reported == []
    assert [line["event"] for line in world.log] == ["admin_write_refused"]


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_web_page_could_send_without_asking_is_refused(content_type: str) -> None:
    """S19: a form or a `no-cors` fetch of any page cannot change a cortex on loopback."""
    world = World()
    answer = world.client.post(
        "/things/x", content='{"size": 3}', headers={"content-type": content_type}
    )
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
    assert world.reported == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1", ""]
)
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    world = World()
    answer = world.post(origin=origin)
    assert (answer.status_code, code_of(answer)) == (403, "permission_denied")
    assert "http://127.0.0.1:8040" in answer.json()["error"]["message"]
    assert world.reported == []


def test_pages_of_this_very_server_may_write() -> None:
    assert World().post(origin="http://127.0.0.1:8040").status_code == 200


def test_a_preflight_is_allowed_nothing() -> None:
    answer = World().client.options(
        "/things/x",
        headers={"origin": "http://evil.example", "access-control-request-method": "POST"},
    )
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_a_name_that_resolves_to_us_is_no_way_in() -> None:
    """S17: DNS rebinding."""
    world = World()
    answer = world.post(host="evil.example")
    assert (answer.status_code, code_of(answer)) == (421, "misdirected_request")
    assert world.reported == []


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ('{"size": 3, "sice": 4}', "invalid_request_body", "cause, size"),
        ("{}", "invalid_request_body", "cause, size"),
        ("", "invalid_request_body", "cause, size"),
        ('{"size": "3"}', "invalid_request_body", "cause, size"),
        ("[]", "invalid_request_body", "cause, size"),
        ("{size", "malformed_json", "not JSON"),
        (b"\xff\xfe", "malformed_json", "not JSON"),
        (b'{"size": 3, "cause": "\xff"}', "malformed_json", "not JSON"),
        ('{"size": 3, "cause": "\\ud800"}', "malformed_json", "not JSON"),
        ('{"size": ' + "[" * 100_000, "invalid_request_body", "cause, size"),
        ('{"size": 3, "cause": "two\\nlines"}', "invalid_request_body", "one line"),
        ('{"size": 3, "cause": "' + "x" * 201 + '"}', "invalid_request_body", "200"),
    ],
)
def test_a_wrong_body_is_told_what_is_allowed(content: str | bytes, code: str, said: str) -> None:
    world = World()
    answer = world.post(content)
    assert (answer.status_code, code_of(answer)) == (400, code)
    assert said in answer.json()["error"]["message"]
    assert world.reported == []


def test_a_large_body_is_cut_off() -> None:
    world = World()
    answer = world.post(b" " * (BODY_BYTES_MAX + 1))
    assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")
