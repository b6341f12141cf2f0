"""`helexa explain request ID` and `helexa explain placement MODEL`."""

import json

from helexa.cortex.admin.requests import request_json
from helexa.cortex.observe.placing import placing
from tests.cli.conftest import Helexa
from tests.fakes.fleet import fleet, joined, model, register
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


def test_a_placement_is_explained(helexa: Helexa, server: AnswerServer) -> None:
    state = fleet(model("m"))
    state.apply([joined(1, register("n1"))], 0.0)
    told = placing(state.snapshot(0.0), "m", 0.0)
    assert told is not None
    server["GET /api/v1/explain/placement?model=m"] = Answer(told)
    admin = f"127.0.0.1:{server.port}"
    ran = helexa("explain", "placement", "m", "--admin", admin)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("model m · 1 wanted, 0 loaded")
    ran = helexa("explain", "placement", "m", "-o", "json", "--admin", admin)
    assert json.loads(ran.out)["next"] == "n1"
