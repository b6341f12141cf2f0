"""A request's way as text."""

from helexa.cli.explain_view import request_text
from helexa.cortex.admin.requests import request_json
from tests.fakes.remembered_requests import refused, retried, running


def test_the_way_of_a_request_is_a_timeline_and_a_table_for_each_decision() -> None:
    lines = request_text(request_json("req-1", retried())).splitlines()
    assert lines[0] == (
        "request req-1 · chat of m · ChatInteractive · ok 200 · 3 + 5 tokens · 2 attempts"
    )
    assert lines[2].split() == ["AT", "WHAT", "DETAIL"]
    assert lines[3].split() == ["0.0", "ms", "received"]
    assert any(line.startswith("on the neuron: queued 0.0 ms") for line in lines)
    assert any(line.startswith("decision 1, after 0.0 ms: nowhere; model 'm' is") for line in lines)
    tables = [line for line in lines if "NEURON" in line]
    assert len(tables) == 2
    assert "WAIT" in tables[0]
    assert any("→" in line and " yes " in line for line in lines)
    assert any("untried: was tried for this request" in line for line in lines)


def test_a_refused_and_a_running_request_are_told() -> None:
    assert "client_error 404 model_not_found" in request_text(request_json("req-1", refused()))
    assert request_text(request_json("req-1", running())).splitlines()[0].endswith("· running")


def test_what_is_not_known_is_said() -> None:
    told = request_json("req-1", running())
    told["decisions"][0]["in_flight_known"] = False
    assert "requests in flight are not remembered" in request_text(told)
    told["decisions"][0]["candidates"] = None
    assert "NEURON" not in request_text(told)
