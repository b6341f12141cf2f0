"""`helexa explain request ID`."""

import json

from helexa.cortex.admin.requests import request_json
from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer
from tests.fakes.remembered_requests import retried


def test_a_request_is_explained(helexa: Helexa, server: AnswerServer) -> None:
    told = request_json("req-1", retried())
    server["GET /api/v1/requests/req-1"] = Answer(told)
    admin = f"127.0.0.1:{server.port}"
    ran = helexa("explain", "request", "req-1", "--admin", admin)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("request req-1 · chat of m")
    ran = helexa("explain", "request", "req-1", "-o", "json", "--admin", admin)
    assert json.loads(ran.out) == told


def test_a_forgotten_request_is_exit_3(helexa: Helexa, server: AnswerServer) -> None:
    error = {"error": {"message": "no request 'x' is remembered", "code": "not_found"}}
    server["GET /api/v1/requests/x"] = Answer(error, 404)
    ran = helexa("explain", "request", "x", "--admin", f"127.0.0.1:{server.port}")
    assert ran.status == 3
    assert "no request 'x' is remembered" in ran.err
