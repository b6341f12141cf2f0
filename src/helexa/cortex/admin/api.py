"""The admin API's routes, on Starlette.

GET /health                       the process is alive; what is impaired, if anything
GET /api/v1/status                everything on one screen
GET /api/v1/models                models, replicas, why one is not there
GET /api/v1/models/ID             one model: its instances, and where one more would go
GET /api/v1/neurons               neurons, their hardware and models
GET /api/v1/neurons/ID            one neuron: its models, last answers, and how far its drain is
POST /api/v1/neurons/ID/cordon    place no further model there (body: {"cause": "why"})
POST /api/v1/neurons/ID/drain     and move its models elsewhere, then unload them
POST /api/v1/neurons/ID/uncordon  take both marks away
POST /api/v1/models/load          have a replica (body: {"model": NAME, "cause": "why"}); and
POST /api/v1/models/unload        everywhere, until somebody asks for it; and
POST /api/v1/models/pin|unpin     keep it whatever happens, or let it go again
GET /api/v1/spec                  the spec in force
POST /api/v1/spec/plan            what a spec would change (body: {"text": "{…}", "name": "file"})
POST /api/v1/spec/apply           enforce it from now on, over restarts too
GET /api/v1/explain/placement?model=NAME  where one more replica would go, and why
GET /api/v1/explain?model=NAME    where a request would go now, and why
                                  (&operation=chat|… &session=… &key=…)
GET /api/v1/requests/ID           one request of late: its times, and why it went where it went
GET /api/v1/join                  how another machine joins
GET, POST /api/v1/tenants, /projects, /keys, /audit   see `people`
GET /metrics                      Prometheus text
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helexa.cortex.admin.join import JoinInfo
from helexa.cortex.admin.marks import cordoned, drained, marking, uncordoned, unknown_neuron
from helexa.cortex.admin.no_people import People, no_people
from helexa.cortex.admin.requests import request_json
from helexa.cortex.admin.specs import SpecBody, SpecDoor
from helexa.cortex.admin.wanting import WANTINGS, ModelBody, unknown_model, wanting
from helexa.cortex.admin.writes import WriteBody, Writes, answer_json, answer_refusal, keeping
from helexa.cortex.control_plane.spec_desk import SpecDesk
from helexa.cortex.gateway.decisions import FAILED_S, RECENT_MAX, Decided
from helexa.cortex.mesh import MeshView
from helexa.cortex.observe import inspection, views
from helexa.cortex.observe.placing import placing
from helexa.cortex.orchestrator.events import Event
from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import explain
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, Replica
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId
from helexa.protocol.workload import Operation, WorkloadClass
from helexa.util.metrics import CONTENT_TYPE

SESSION_CHARS_MAX = 256
_CLASSES = {
    **dict.fromkeys(Operation, WorkloadClass.CHAT_INTERACTIVE),
    Operation.EMBEDDINGS: WorkloadClass.EMBEDDING,
}


@dataclass(frozen=True, slots=True)
class AdminFacts:
    """All that the admin API reads, and where its writes go; it shares nothing else with cortex."""

    snapshot: Callable[[], FleetSnapshot]
    desk: SpecDesk
    report: Callable[[Event], None]
    """Takes what a write asks for to the control loop."""
    keep_fleet: Callable[[], Awaitable[str]]
    """Writes the marks on neurons; returns why it could not, if so."""
    keep_demand: Callable[[], Awaitable[str]]
    """The same for what operators want of models."""
    logger: Any
    monotonic: Callable[[], float]
    in_flight: Callable[[Replica], int]
    requests: Callable[[], dict[str, int]]
    """Requests `in_flight` and `held` in the gateway."""
    decided: Callable[[str], Decided | None]
    """Returns what is remembered of a request."""
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
    people: People = no_people
    """The routes of tenants, projects, keys and the audit log."""


def admin_app(facts: AdminFacts) -> Starlette:
    """Return the admin API as an ASGI app."""
    door = SpecDoor(facts.desk, facts.snapshot, facts.monotonic)
    api = _Api(facts, door)
    writes = Writes(facts.report, facts.logger)
    marks = {"cordon": cordoned, "drain": drained, "uncordon": uncordoned}
    routes = [
        Route("/health", api.health),
        Route("/api/v1/status", api.status),
        Route("/api/v1/models", api.models),
        *(
            Route(
                f"/api/v1/models/{name}",
                writes.endpoint(
                    ModelBody, wanting(facts.snapshot, want), keeping(facts.keep_demand)
                ),
                methods=["POST"],
            )
            for name, want in WANTINGS.items()
        ),
        Route("/api/v1/models/{id:path}", api.model),
        Route("/api/v1/neurons", api.neurons),
        Route("/api/v1/neurons/{id}", api.neuron),
        *(
            Route(
                f"/api/v1/neurons/{{id}}/{name}",
                writes.endpoint(
                    WriteBody, marking(facts.snapshot, marks_of), keeping(facts.keep_fleet)
                ),
                methods=["POST"],
            )
            for name, marks_of in marks.items()
        ),
        Route("/api/v1/spec", api.spec),
        Route("/api/v1/spec/plan", writes.endpoint(SpecBody, door.plan), methods=["POST"]),
        Route(
            "/api/v1/spec/apply", writes.endpoint(SpecBody, door.apply, door.keep), methods=["POST"]
        ),
        Route("/api/v1/explain", api.explain),
        Route("/api/v1/explain/placement", api.placement),
        Route("/api/v1/requests/{id}", api.request),
        Route("/api/v1/join", api.join),
        *facts.people(writes),
        Route("/metrics", api.metrics),
    ]
    return Starlette(
        routes=routes, exception_handlers={HTTPException: _refused, Exception: _failed}
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: ErrorCode.ROUTE_NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}.get(
        error.status_code, ErrorCode.BAD_REQUEST
    )
    asked = f"{request.method} {request.url.path[:200]}"
    allowed = (error.headers or {}).get("Allow")
    known = ", ".join(dict.fromkeys(getattr(route, "path", "") for route in request.app.routes))
    because = f"this route takes {allowed}" if allowed else f"the routes are {known}"
    because = f"there is no {asked}; {because}"
    answer = answer_refusal(Refusal(code, because))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _failed(_request: Request, _error: Exception) -> Response:
    """Say that it is our fault; the server logs it."""
    because = "a fault of helexa; the cortex's log has it"
    return answer_refusal(Refusal(ErrorCode.INTERNAL_ERROR, because))


class _Api:
    def __init__(self, facts: AdminFacts, door: SpecDoor) -> None:
        self._facts = facts
        self._door = door

    async def health(self, _request: Request) -> Response:
        problems = views.problems(self._facts.snapshot())
        return answer_json(
            {"status": "impaired", "problems": problems} if problems else {"status": "ok"}
        )

    async def status(self, _request: Request) -> Response:
        facts = self._facts
        snapshot = facts.snapshot()
        problems = views.problems(snapshot)
        state = "draining" if facts.draining() else "running"
        return answer_json(
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
        return answer_json({"models": views.models(self._facts.snapshot())})

    async def neurons(self, _request: Request) -> Response:
        facts = self._facts
        return answer_json({"neurons": views.neurons(facts.snapshot(), facts.monotonic())})

    async def model(self, request: Request) -> Response:
        facts, name = self._facts, request.path_params["id"]
        found = inspection.model_detail(facts.snapshot(), name, facts.monotonic())
        if found is None:
            return answer_refusal(unknown_model(name))
        return answer_json(found)

    async def neuron(self, request: Request) -> Response:
        facts, name = self._facts, request.path_params["id"]
        snapshot = facts.snapshot()
        found = inspection.neuron_detail(snapshot, NeuronId(name), facts.monotonic())
        if found is None:
            return answer_refusal(unknown_neuron(name, snapshot.neurons))
        return answer_json(found)

    async def explain(self, request: Request) -> Response:
        facts = self._facts
        named = request.query_params.get("operation", Operation.CHAT.value)
        try:
            operation = Operation(named)
        except ValueError:
            allowed = ", ".join(each.value for each in Operation)
            because = f"operation {named[:64]!r} is not one of {allowed}"
            return answer_refusal(Refusal(ErrorCode.BAD_REQUEST, because, param="operation"))
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
        return answer_json(views.explanation(found, placement), 200 if found.model_id else 404)

    async def placement(self, request: Request) -> Response:
        facts, name = self._facts, request.query_params.get("model", "")
        found = placing(facts.snapshot(), name, facts.monotonic())
        return answer_json(found) if found is not None else answer_refusal(unknown_model(name))

    async def spec(self, _request: Request) -> Response:
        return answer_json(self._door.current())

    async def request(self, request: Request) -> Response:
        name = request.path_params["id"]
        found = self._facts.decided(name)
        if found is None:
            because = (
                f"no request {name[:128]!r} is remembered; the last {RECENT_MAX} are, and those of"
                f" the last {FAILED_S / 60:.0f} minutes that were refused or failed"
            )
            return answer_refusal(Refusal(ErrorCode.NOT_FOUND, because, param="id"))
        return answer_json(request_json(name, found, self._facts.router))

    async def join(self, _request: Request) -> Response:
        join = self._facts.join
        return answer_json(
            {
                "control_endpoint": join.control_endpoint,
                "token_needed": join.token_needed,
                "token_file": join.token_file,
                "command": join.command(),
            }
        )

    async def metrics(self, _request: Request) -> Response:
        if self._facts.metrics is None:
            because = "metrics are switched off ([metrics] enabled)"
            return answer_refusal(Refusal(ErrorCode.ROUTE_NOT_FOUND, because))
        return Response(self._facts.metrics(), media_type=CONTENT_TYPE)
