"""`helexa inspect neuron|model NAME`."""

import json

from helexa.cortex.observe.inspection import model_detail, neuron_detail
from helexa.protocol.ids import NeuronId
from tests.cli.conftest import Helexa
from tests.fakes import fleet
from tests.fakes.http_answers import Answer, AnswerServer


def serve(server: AnswerServer) -> str:
    config = fleet.model("org/m", options={"rate": 2})
    state = fleet.fleet(config)
    state.apply([fleet.joined(1, fleet.register("n1", fleet.status(config)))], 1.0)
    snapshot = state.snapshot(1.0)
    server["GET /api/v1/neurons/n1"] = Answer(neuron_detail(snapshot, NeuronId("n1"), 3.0) or {})
    server["GET /api/v1/models/org/m"] = Answer(model_detail(snapshot, "org/m", 3.0) or {})
    server["GET /api/v1/models/x"] = Answer({"error": {"message": "no model", "code": "c"}}, 404)
    return f"127.0.0.1:{server.port}"


def test_a_neuron_is_shown_in_full(helexa: Helexa, server: AnswerServer) -> None:
    admin = serve(server)
    ran = helexa("inspect", "neuron", "n1", "--admin", admin)
    assert ran.status == 0, ran.err
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    for line in ("state connected", "org/m", "state loaded", "budget 8.0 GiB"):
        assert line in lines, ran.out
    ran = helexa("inspect", "neuron", "n1", "-o", "json", "--admin", admin)
    assert json.loads(ran.out)["models"]["org/m"]["state"] == "loaded"


def test_a_model_is_shown_in_full(helexa: Helexa, server: AnswerServer) -> None:
    ran = helexa("inspect", "model", "org/m", "--admin", serve(server))
    assert ran.status == 0, ran.err
    assert "placement" in ran.out.splitlines()
    assert "n1      yes   -        7.0 GiB" in ran.out


def test_what_is_not_there_is_exit_3(helexa: Helexa, server: AnswerServer) -> None:
    assert helexa("inspect", "model", "x", "--admin", serve(server)).status == 3
