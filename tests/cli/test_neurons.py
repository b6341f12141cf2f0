"""`helexa neurons`."""

import json

from tests.cli.conftest import Helexa
from tests.fakes.fleet_answers import serve_status, status_of
from tests.fakes.http_answers import Answer, AnswerServer


def test_neurons_are_listed_with_models_seats_memory_and_load(
    helexa: Helexa, server: AnswerServer
) -> None:
    ran = helexa("neurons", "--admin", serve_status(server, status_of(healthy=True)))
    assert ran.status == 0
    head, row = ran.out.splitlines()
    assert head.split()[:6] == ["NEURON", "STATE", "MARK", "MODELS", "SEATS", "WAITING"]
    assert row.split()[:6] == ["rack1", "connected", "-", "small", "0/4", "0"]
    assert "1.0 GiB of 8.0 GiB" in row


def test_marks_are_shown(helexa: Helexa, server: AnswerServer) -> None:
    status = status_of(healthy=False)
    status["neurons"][0]["cordoned"] = True
    status["neurons"][1] |= {"cordoned": True, "draining": True}
    rows = helexa("neurons", "--admin", serve_status(server, status)).out.splitlines()[1:]
    assert [row.split()[2] for row in rows] == ["cordoned", "draining"]


def test_json_is_the_apis_and_one_line_for_each_change_when_watched(
    helexa: Helexa, server: AnswerServer
) -> None:
    status = status_of(healthy=True)
    admin = serve_status(server, status)
    ran = helexa("neurons", "-o", "json", "--admin", admin)
    assert json.loads(ran.out) == {"neurons": status["neurons"]}
    answers = [Answer({"neurons": []}), Answer({"error": {"message": "x", "code": "y"}}, 500)]
    server["GET /api/v1/neurons"] = lambda _asked: answers.pop(0)
    ran = helexa("neurons", "--watch", "-o", "json", "--admin", admin)
    assert (ran.status, ran.out) == (1, '{"neurons": []}\n')
