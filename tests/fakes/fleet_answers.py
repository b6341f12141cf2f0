"""What the admin API says of a small fleet with one of everything, made by its own code."""

from typing import Any

from helexa.cortex.admin.join import JoinInfo
from helexa.cortex.observe import views
from helexa.protocol.lifecycle import ModelState
from tests.fakes import fleet
from tests.fakes.http_answers import Answer, AnswerServer

JOIN = JoinInfo("ws://10.0.0.1:9040", token_needed=True, token_file="/state/join-token").command()


def status_of(*, healthy: bool) -> dict[str, Any]:
    """Return `/api/v1/status`: two models and a neuron, or a fleet where things went wrong."""
    good, bad = fleet.model("small", aliases=("gpt-4o",)), fleet.model("large", engine="vllm")
    state = fleet.fleet(*([good] if healthy else [good, bad]))
    events = [fleet.joined(1, fleet.register("rack1", fleet.status(good)))]
    if not healthy:
        failed = fleet.status(bad, ModelState.FAILED, None, because="the engine ran out of memory",
            failures=3, retry_after_s=58.0)  # fmt: skip
        joined = fleet.register("rack2", failed, engines=("echo", "vllm"))
        events.append(fleet.joined(2, joined))
    state.apply(events, 1.0)
    return _status(state.snapshot(3.0), 3.0)


def empty_status() -> dict[str, Any]:
    """Return `/api/v1/status` of a cortex that nobody has joined."""
    return _status(fleet.fleet().snapshot(0.0), 0.0)


def _status(snapshot: Any, now: float) -> dict[str, Any]:
    problems = views.problems(snapshot)
    return {
        "version": "0.1.0", "cortex_id": "cortex-test", "state": "running",
        "healthy": not problems, "problems": problems, "uptime_s": 11_530.4,
        "sockets": {"gateway": "127.0.0.1:8080", "admin": "127.0.0.1:8040"},
        "requests": {"in_flight": 2, "held": 1}, "counts": views.counts(snapshot),
        "neurons": views.neurons(snapshot, now), "models": views.models(snapshot),
        "mesh": {"operator": "local", "peers": []},
    }  # fmt: skip


def serve_status(server: AnswerServer, status: dict[str, Any]) -> str:
    """Let a server answer like an admin API; return its `host:port`."""
    server["GET /api/v1/status"] = Answer(status)
    server["GET /api/v1/models"] = Answer({"models": status["models"]})
    server["GET /api/v1/neurons"] = Answer({"neurons": status["neurons"]})
    server["GET /api/v1/join"] = Answer({"command": JOIN})
    return f"127.0.0.1:{server.port}"
