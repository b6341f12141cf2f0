"""The admin API's routes, on Starlette.

GET /health                       the process is alive; what is impaired, if anything
GET /api/v1/status                everything on one screen
GET /api/v1/models                models, replicas, why one is not there
GET /api/v1/neurons               neurons, their hardware and models
GET /api/v1/explain?model=NAME    where a request would go now, and why
                                  (&operation=chat|… &session=… &key=…)
GET /api/v1/join                  how another machine joins
GET /metrics                      Prometheus text
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helexa.config.sockets import parse_url
from helexa.cortex.mesh import MeshView
from helexa.cortex.observe import views
from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import explain
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, Replica
from helexa.protocol.workload import Operation, WorkloadClass
from helexa.util.metrics import CONTENT_TYPE

SESSION_CHARS_MAX = 256
_CLASSES = {
    Operation.CHAT: WorkloadClass.CHAT_INTERACTIVE,
    Operation.COMPLETION: WorkloadClass.CHAT_INTERACTIVE,
    Operation.EMBEDDINGS: WorkloadClass.EMBEDDING,
}


@dataclass(frozen=True, slots=True)
class JoinInfo:
    """How a machine joins this cortex; no secret in it."""

    control_endpoint: str
    """The websocket URL to dial; empty where the control plane is off."""
    token_needed: bool
    token_file: str = ""

    def command(self) -> str:
        """Return the command that is run on the other machine."""
        if not self.control_endpoint:
            return ""
        token = " --join-token-file join-token" if self.token_needed else ""
        url = parse_url(self.control_endpoint, ("ws", "wss"))
        # A neuron sends prompts in the clear only where it is told to.
        clear = "" if url.is_encrypted or url.is_loopback else " --allow-cleartext"
        return f"helexa neuron --cortex-control-endpoint {self.control_endpoint}{token}{clear}"


@dataclass(frozen=True, slots=True)
class AdminFacts:
    """All that the admin API reads; it shares nothing else with the rest of cortex."""

    snapshot: Callable[[], FleetSnapshot]
    monotonic: Callable[[], float]
    in_flight: Callable[[Replica], int]
    requests: Callable[[], dict[str, int]]
    """Requests `in_flight` and `held` in the gateway."""
    draining: Callable[[], bool]
    metrics: Callable[[], bytes] | None
    """Prometheus text; None where metrics are switched off."""
    mesh: MeshView
    join: JoinInfo
    sockets: dict[str, str]
    """Where each server listens, by its name in the settings."""
    cortex_id: str
    version: str
    started_s: float
    router: Router = field(default_factory=Router)
    """The gateway's own, so that what is explained is what happens."""


def admin_app(facts: AdminFacts) -> Starlette:
    """Return the admin API as an ASGI app."""
    api = _Api(facts)
    routes = [
        Route("/health", api.health),
        Route("/api/v1/status", api.status),
        Route("/api/v1/models", api.models),
        Route("/api/v1/neurons", api.neurons),
        Route("/api/v1/explain", api.explain),
        Route("/api/v1/join", api.join),
        Route("/metrics", api.metrics),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refused})


def _json(value: Any, status: int = 200) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    body = msgspec.json.encode(value)
    return Response(body, status, headers, media_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return _json({"error": {"code": code, "message": message}}, status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    answer = _error(error.status_code, code, f"{request.method} {request.url.path[:200]}")
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


class _Api:
    def __init__(self, facts: AdminFacts) -> None:
        self._facts = facts

    async def health(self, _request: Request) -> Response:
        problems = views.problems(self._facts.snapshot())
        return _json({"status": "impaired", "problems": problems} if problems else {"status": "ok"})

    async def status(self, _request: Request) -> Response:
        facts = self._facts
        snapshot = facts.snapshot()
        problems = views.problems(snapshot)
        state = "draining" if facts.draining() else "running"
        return _json(
            {
                "version": facts.version,
                "cortex_id": facts.cortex_id,
                "state": state,
                "healthy": not problems and state == "running",
                "problems": problems,
                "uptime_s": round(facts.monotonic() - facts.started_s, 1),
                "sockets": facts.sockets,
                "requests": facts.requests(),
                "counts": views.counts(snapshot),
                "neurons": views.neurons(snapshot, facts.monotonic()),
                "models": views.models(snapshot),
                "mesh": {"operator": facts.mesh.operator, "peers": list(facts.mesh.peers)},
            }
        )

    async def models(self, _request: Request) -> Response:
        return _json({"models": views.models(self._facts.snapshot())})

    async def neurons(self, _request: Request) -> Response:
        facts = self._facts
        return _json({"neurons": views.neurons(facts.snapshot(), facts.monotonic())})

    async def explain(self, request: Request) -> Response:
        facts = self._facts
        named = request.query_params.get("operation", Operation.CHAT.value)
        try:
            operation = Operation(named)
        except ValueError:
            allowed = ", ".join(each.value for each in Operation)
            because = f"operation {named[:64]!r} is not one of {allowed}"
            return _error(400, "bad_request", because)
        asked = RoutingRequest(
            request_id=request.query_params.get("request_id", "explain")[:128],
            operation=operation,
            workload_class=_CLASSES[operation],
            model=request.query_params.get("model"),
            session=request.query_params.get("session", "")[:SESSION_CHARS_MAX],
            principal=request.query_params.get("key", "")[:128],
        )
        snapshot = facts.snapshot()
        found = explain(asked, snapshot, facts.in_flight, facts.router)
        placement = None
        if found.model_id is not None:
            model = snapshot.models[found.model_id]
            placement = views.placement_of(model, snapshot, facts.monotonic())
        return _json(views.explanation(found, placement), 200 if found.model_id else 404)

    async def join(self, _request: Request) -> Response:
        join = self._facts.join
        return _json(
            {
                "control_endpoint": join.control_endpoint,
                "token_needed": join.token_needed,
                "token_file": join.token_file,
                "command": join.command(),
            }
        )

    async def metrics(self, _request: Request) -> Response:
        if self._facts.metrics is None:
            return _error(404, "route_not_found", "metrics are switched off ([metrics] enabled)")
        return Response(self._facts.metrics(), media_type=CONTENT_TYPE)
