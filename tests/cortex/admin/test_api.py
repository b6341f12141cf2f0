"""The admin API over its ASGI app: shapes that tools depend on."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from helexa.config.cortex import CortexConfig
from helexa.cortex.admin.api import AdminFacts, admin_app
from helexa.cortex.admin.join import JoinInfo
from helexa.cortex.control_plane.spec_desk import SpecDesk
from helexa.cortex.mesh import MeshView
from helexa.cortex.orchestrator.events import Event, NeuronMarked
from helexa.cortex.orchestrator.snapshot import EMPTY, FleetSnapshot
from helexa.protocol.ids import NeuronId
from helexa.protocol.workload import Operation
from tests.fakes.control_plane import recording_logger
from tests.fakes.fleet import fleet, joined, model, register, status
from tests.fakes.remembered_requests import retried


def snapshot() -> FleetSnapshot:
    state = fleet(model("m", aliases=("mm",)), model("down", engine="vllm"))
    state.apply([joined(1, register("n1", status(model("m"))))], 90.0)
    return state.snapshot(90.0)


DESK = SpecDesk(CortexConfig(state_dir=Path("state")), lambda _: (), Path("state"), None)


async def kept() -> str:
    return ""


def client(**changes: Any) -> TestClient:
    facts: dict[str, Any] = {
        "snapshot": snapshot,
        "desk": DESK,
        "report": lambda _event: None,
        "keep_fleet": kept,
        "keep_demand": kept,
        "logger": recording_logger([]),
        "monotonic": lambda: 100.0,
        "in_flight": lambda _replica: 2,
        "decided": lambda _request_id: None,
        "requests": lambda: {"in_flight": 2, "held": 1},
        "draining": lambda: False,
        "metrics": lambda: b"helexa_x 1\n",
        "mesh": MeshView("local"),
        "join": JoinInfo("ws://box:9040", token_needed=True, token_file="/etc/helexa/token"),
        "sockets": {"gateway": "127.0.0.1:8080"},
        "cortex_id": "cortex-1",
        "version": "0.1.0",
        "started_s": 40.0,
    }
    return TestClient(admin_app(AdminFacts(**(facts | changes))))


def test_status_is_one_screen() -> None:
    """R5.5, R5.6, R5.7."""
    body = client().get("/api/v1/status").json()
    assert body["state"] == "running"
    assert body["uptime_s"] == 60.0
    assert body["healthy"] is False
    assert any("down" in problem for problem in body["problems"])
    assert body["requests"] == {"in_flight": 2, "held": 1}
    assert [n["id"] for n in body["neurons"]] == ["n1"]
    assert {m["id"]: m["state"] for m in body["models"]} == {"m": "loaded", "down": "failed"}
    assert body["mesh"] == {"operator": "local", "peers": []}


def test_a_draining_cortex_says_so() -> None:
    body = client(draining=lambda: True).get("/api/v1/status").json()
    assert (body["state"], body["healthy"]) == ("draining", False)


def test_models_and_neurons_have_their_own_routes() -> None:
    assert client().get("/api/v1/models").json()["models"][1]["aliases"] == ["mm"]
    assert client().get("/api/v1/neurons").json()["neurons"][0]["state"] == "connected"


def test_one_neuron_and_one_model_are_told_in_full() -> None:
    assert client().get("/api/v1/neurons/n1").json()["models"]["m"]["state"] == "loaded"
    assert client().get("/api/v1/models/mm").json()["instances"]["n1"]["state"] == "loaded"
    for path, code in (("/neurons/n2", "not_found"), ("/models/a/b", "model_not_found")):
        answer = client().get(f"/api/v1{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


def test_a_request_is_explained_or_said_to_be_forgotten() -> None:
    told = client(decided=lambda name: retried() if name == "req-1" else None)
    assert told.get("/api/v1/requests/req-1").json()["attempts"] == 2
    answer = told.get("/api/v1/requests/other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "2048" in answer.json()["error"]["message"]


def test_a_neuron_is_marked_by_a_post_and_by_nothing_else() -> None:
    reported: list[Any] = []
    admin = client(report=reported.append)
    answer = admin.post("/api/v1/neurons/n1/drain", json={"cause": "disk change"})
    assert answer.json() == {"id": "n1", "cordoned": True, "draining": True, "kept": True}
    assert reported == [NeuronMarked(NeuronId("n1"), True, True, "disk change")]
    assert admin.get("/api/v1/neurons/n1/drain").status_code == 405
    assert admin.post("/api/v1/neurons/n2/cordon", json={}).status_code == 404
    assert len(reported) == 1


def test_a_route_is_explained() -> None:
    body = client().get("/api/v1/explain", params={"model": "mm"}).json()
    assert (body["model"], body["chosen"]) == ("m", "n1")
    (candidate,) = body["candidates"]
    assert candidate["eligible"]
    assert candidate["scores"]["wait"] == 0.5
    assert (body["reason"], body["strategy"], body["weights"]) == ("only", "default", {"wait": 1.0})
    assert body["placement"]["neurons"][0]["neuron"] == "n1"


def test_a_refusal_is_explained() -> None:
    body = client().get("/api/v1/explain", params={"model": "down"}).json()
    assert body["chosen"] is None
    assert "does not allow engine vllm" in body["because"]
    assert "does not allow engine vllm" in body["placement"]["because"]
    wrong = client().get("/api/v1/explain", params={"model": "m", "operation": "embeddings"})
    assert "cannot do embeddings" in wrong.json()["because"]
    assert client().get("/api/v1/explain", params={"model": "nope"}).status_code == 404


@pytest.mark.parametrize("operation", Operation)
def test_the_route_of_every_operation_is_explained(operation: Operation) -> None:
    answer = client().get("/api/v1/explain", params={"model": "mm", "operation": operation.value})
    assert answer.status_code == 200
    assert answer.json()["candidates"]


def test_an_unknown_operation_is_the_callers_mistake() -> None:
    answer = client().get("/api/v1/explain", params={"model": "m", "operation": "fly"})
    assert answer.status_code == 400
    assert "chat, completion, embeddings" in answer.json()["error"]["message"]


def test_joining_is_told_as_a_command_without_the_token() -> None:
    body = client().get("/api/v1/join").json()
    assert body["command"] == (
        "helexa neuron --cortex-control-endpoint ws://box:9040"
        " --join-token-file join-token --allow-cleartext"
    )
    assert "/etc/helexa/token" not in body["command"], "that path is on this machine"


def test_metrics_are_text_or_a_404_where_they_are_off() -> None:
    answer = client().get("/metrics")
    assert answer.text == "helexa_x 1\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert client(metrics=None).get("/metrics").status_code == 404


def test_health_lists_what_is_impaired() -> None:
    """Lesson 32: "healthy" is not said of a fleet that cannot serve what it should."""
    answer = client(snapshot=lambda: EMPTY).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "impaired")
    assert answer.json()["problems"] == ["no neuron is connected"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_is_read_cannot_be_written(method: str) -> None:
    for path in ("/api/v1/status", "/api/v1/models", "/api/v1/join", "/health"):
        answer = client().request(method, path)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]
        assert "this route takes " in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "method_not_allowed"


def test_unknown_paths_are_json_404() -> None:
    answer = client().get("/api/v2/x")
    assert answer.status_code == 404
    assert json.loads(answer.text)["error"]["code"] == "route_not_found"
    assert "the routes are /health, /api/v1/status, " in answer.json()["error"]["message"]


def test_a_fault_of_ours_is_told_in_the_envelope_of_all_errors() -> None:
    made = TestClient(client(snapshot=lambda: None).app, raise_server_exceptions=False)
    answer = made.get("/health")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


def test_answers_are_not_cached_and_not_sniffed() -> None:
    headers = client().get("/api/v1/status").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


def test_models_are_loaded_unloaded_and_pinned_by_post() -> None:
    """R2.12, R2.39."""
    reported: list[Event] = []
    made = client(report=reported.append)
    for name in ("load", "unload", "pin", "unpin"):
        answer = made.post(f"/api/v1/models/{name}", json={"model": "mm"})
        assert (answer.status_code, answer.json()["id"]) == (200, "m")
        assert answer.json()["kept"] is True
    assert [type(event).__name__ for event in reported] == [
        "ModelWanted", "ModelUnwanted", "ModelPinned", "ModelPinned",
    ]  # fmt: skip
    assert made.post("/api/v1/models/load", json={"model": "x"}).status_code == 404


def test_a_spec_is_planned_and_placement_explained() -> None:
    made = client()
    text = '{"models": [{"id": "a", "engine": "echo"}]}'
    answer = made.post("/api/v1/spec/plan", json={"text": text, "name": "s.json"})
    assert [change["subject"] for change in answer.json()["changes"]] == ["a"]
    wrong = made.post("/api/v1/spec/apply", json={"text": "{"})
    assert wrong.status_code == 400
    assert made.get("/api/v1/spec").json() == {"name": None, "text": None}
    told = made.get("/api/v1/explain/placement", params={"model": "mm"})
    assert told.json()["model"] == "m"
    assert made.get("/api/v1/explain/placement", params={"model": "x"}).status_code == 404
