"""A cortex, put together: every part is made here, started here, and stopped here in order.

run(config)     sockets are bound first, all of them, so that a port in use stops the start;
                then the parts start; then it waits; then it stops, in bounded time.
"""

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from helexa import __version__
from helexa.config.cortex import ControlPlaneSettings, CortexConfig, CortexSpec, GatewaySettings
from helexa.config.keys import read_keys_file, read_token_file
from helexa.config.rules import EngineProblems
from helexa.config.sockets import Socket
from helexa.cortex.admin.api import AdminFacts, JoinInfo, admin_app
from helexa.cortex.admin.hosts import HostGuard
from helexa.cortex.control_plane.demand_memory import DemandKeeper
from helexa.cortex.control_plane.dispatch import Dispatcher
from helexa.cortex.control_plane.join_gate import JoinGate
from helexa.cortex.control_plane.links import Links
from helexa.cortex.control_plane.loop import ControlLoop
from helexa.cortex.control_plane.memory import MemoryKeeper
from helexa.cortex.control_plane.provisioners import provisioner_of
from helexa.cortex.control_plane.server import ConnectionLimits, ControlServer
from helexa.cortex.control_plane.spec_desk import SpecDesk
from helexa.cortex.gateway.app import Door, Gateway
from helexa.cortex.gateway.auth import OpenDoor, StaticKeys
from helexa.cortex.gateway.decisions import Decided
from helexa.cortex.gateway.edge.limits import Limits as EdgeLimits
from helexa.cortex.gateway.edge.listening import addresses_of, open_all
from helexa.cortex.gateway.observe import RequestObserver, RouteCounts
from helexa.cortex.gateway.pipeline import Seams
from helexa.cortex.gateway.routing_plugins import router_of
from helexa.cortex.mesh import MeshView, start_mesh
from helexa.cortex.observe.metrics import FleetMetrics
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.cortex.portal.site import portal_app
from helexa.cortex.shutdown import Step, StopRequest, stop_in_order
from helexa.cortex.spec import policy_of
from helexa.protocol.ports import Authenticator
from helexa.util import logging
from helexa.util.asgi import AsgiServer
from helexa.util.clock import Clock, SystemClock
from helexa.util.errors import describe
from helexa.util.metrics import Metrics, NoMetrics, PrometheusMetrics
from helexa.util.tasks import TaskScope
from helexa.util.tls import server_context
from helexa.util.vitals import start_vitals

RECONNECT_AFTER_S: Final = 0.5
STEP_S: Final = 5.0


@dataclass(slots=True)
class Running:
    """A cortex that is up: where it listens, and its inner parts for whoever embeds it."""

    sockets: dict[str, str]
    """`host:port` of each server, by its name in the settings; a free port is filled in."""
    loop: ControlLoop
    dispatcher: Dispatcher
    stop: StopRequest
    join: JoinInfo


@dataclass(slots=True)
class _Parts:
    """Everything of one cortex; None where its socket is off."""

    config: CortexConfig
    clock: Clock
    metrics: Metrics
    logger: Any
    cortex_id: str
    links: Links
    loop: ControlLoop
    dispatcher: Dispatcher
    memory: MemoryKeeper
    demand: DemandKeeper
    mesh: MeshView
    join: JoinInfo
    bound: dict[str, list[socket.socket]]
    stop: StopRequest
    desk: SpecDesk
    tasks: TaskScope
    router: Router
    control: ControlServer | None = None
    gateway: Gateway | None = None
    pages: list[AsgiServer] = field(default_factory=list)


async def run(
    config: CortexConfig,
    *,
    spec: CortexSpec | None = None,
    engine_problems: EngineProblems = lambda _config: (),
    on_ready: Callable[[Running], None] | None = None,
    stop: StopRequest | None = None,
) -> None:
    """Run a cortex until SIGINT, SIGTERM or `stop`; return once everything is stopped.

    `spec` lies below `config`; without one, that which was applied last is used again. What engines
    find wrong with the options of later ones is asked of `engine_problems`. `on_ready` is called
    when every server listens. Raises ConfigError, before anything runs, where a socket cannot be
    listened on or a file that the settings name cannot be used.
    """
    logger = logging.get("cortex")
    request = stop if stop is not None else StopRequest()
    with open_all(_wanted_sockets(config)) as bound, request.on_signals():
        desk = SpecDesk(config, engine_problems, config.state_dir, logger)
        parts = _assemble(config, bound, request, desk, logger)
        try:
            wanted = desk.start(spec, str(config.spec or ""))
            await _start(parts, wanted)
            running = Running(
                addresses_of(bound), parts.loop, parts.dispatcher, request, parts.join
            )
            logger.info(
                "cortex_started",
                version=__version__,
                cortex_id=parts.cortex_id,
                models=len(wanted.models),
                **running.sockets,
            )
            if on_ready is not None:
                on_ready(running)
            await request.asked.wait()
            if parts.gateway is not None:
                parts.gateway.refuse_new()
            logger.info("cortex_stopping", because=request.because)
        finally:
            cut = await stop_in_order(_steps(parts), request, logger)
            logger.info("cortex_stopped", steps_cut=cut)


# ── making ────────────────────────────────────────────────────────────────────────────────────


def _assemble(
    config: CortexConfig,
    bound: dict[str, list[socket.socket]],
    stop: StopRequest,
    desk: SpecDesk,
    logger: Any,
) -> _Parts:
    clock = SystemClock()
    metrics: Metrics = PrometheusMetrics() if config.metrics.enabled else NoMetrics()
    cortex_id = f"cortex-{secrets.token_hex(4)}"
    links = Links()
    plane_logger = logging.get("control_plane")
    loop = ControlLoop(
        replace(policy_of(config), strategy=provisioner_of(config.provisioning.strategy)),
        command_prefix=cortex_id,
        monotonic=clock.monotonic,
        local=clock.local,
        metrics=metrics,
        logger=plane_logger,
    )

    def task_failed(name: str, error: BaseException) -> None:
        logger.error("task_failed", task=name, error=describe(error))

    return _Parts(
        config=config,
        clock=clock,
        metrics=metrics,
        logger=logger,
        cortex_id=cortex_id,
        links=links,
        loop=loop,
        dispatcher=Dispatcher(
            links,
            loop.report,
            plane_logger,
            cortex_id=cortex_id,
            heartbeat_interval_s=config.control_plane.heartbeat_interval_s,
        ),
        memory=MemoryKeeper(config.state_dir, plane_logger),
        demand=DemandKeeper(config.state_dir, loop.learned, clock.wall, plane_logger),
        mesh=start_mesh(config.mesh),
        join=_join_info(config.control_plane, bound.get("control_plane", [])),
        bound=bound,
        stop=stop,
        desk=desk,
        tasks=TaskScope(task_failed),
        router=router_of(config.routing),
    )


def _control_server(parts: _Parts) -> ControlServer:
    settings = parts.config.control_plane
    token = None
    if settings.join_token_file is not None:
        token = read_token_file(settings.join_token_file)
    return ControlServer(
        parts.links,
        JoinGate(token, parts.clock.wall),
        parts.loop.report,
        limits=ConnectionLimits(neurons_max=settings.neurons_max),
        clock=parts.clock,
        metrics=parts.metrics,
        logger=logging.get("control_plane"),
    )


def _gateway(parts: _Parts) -> Gateway:
    settings = parts.config.gateway
    logger = logging.get("gateway")
    observer = RequestObserver(parts.metrics, logger, parts.clock.monotonic)
    RouteCounts(parts.metrics, parts.router.memory)
    seams = Seams(
        snapshot=parts.loop.snapshot,
        report=parts.loop.report,
        open_stream=parts.links.open_stream,
        now=parts.clock.monotonic,
        record=observer.record,
        router=parts.router,
        retried=observer.retried,
    )
    door = Door(
        edge_limits=_edge_limits(settings),
        metrics=parts.metrics if parts.config.metrics.enabled else None,
        cors_origins=settings.cors_origins,
    )
    keys = _authenticator(parts.config)
    return Gateway(seams, keys, settings, door, clock=parts.clock, logger=logger)


def _authenticator(config: CortexConfig) -> Authenticator:
    if config.auth.keys_file is None:
        return OpenDoor()
    return StaticKeys(read_keys_file(config.auth.keys_file))


def _edge_limits(settings: GatewaySettings) -> EdgeLimits:
    return EdgeLimits(
        header_timeout_s=settings.header_timeout_s,
        head_bytes_max=settings.header_bytes_max,
        body_bytes_per_s_min=settings.body_bytes_per_s_min,
        body_bytes_max=settings.body_bytes_max,
        bodies_bytes_max=settings.bodies_bytes_max,
        idle_timeout_s=settings.connection_idle_timeout_s,
        write_stall_s=settings.write_stall_timeout_s,
        connections_max=settings.connections_max,
    )


def _admin(parts: _Parts) -> AsgiServer:
    gateway = parts.gateway

    def in_flight(replica: Replica) -> int:
        return gateway.pipeline.inflight.on(replica) if gateway is not None else 0

    def requests() -> dict[str, int]:
        pipeline = gateway.pipeline if gateway is not None else None
        return {
            "in_flight": len(pipeline) if pipeline is not None else 0,
            "held": pipeline.room.held if pipeline is not None else 0,
            "queued": pipeline.room.queued if pipeline is not None else 0,
        }

    def decided(request_id: str) -> Decided | None:
        return gateway.pipeline.decisions.find(request_id) if gateway is not None else None

    facts = AdminFacts(
        snapshot=parts.loop.snapshot,
        desk=parts.desk,
        report=parts.loop.report,
        keep_fleet=parts.memory.flush,
        keep_demand=parts.demand.flush,
        logger=logging.get("admin"),
        monotonic=parts.clock.monotonic,
        in_flight=in_flight,
        requests=requests,
        decided=decided,
        draining=parts.stop.asked.is_set,
        metrics=parts.metrics.render if parts.config.metrics.enabled else None,
        mesh=parts.mesh,
        join=parts.join,
        sockets=addresses_of(parts.bound),
        cortex_id=parts.cortex_id,
        version=__version__,
        started_s=parts.clock.monotonic(),
        router=parts.router,
    )
    settings = parts.config.admin
    return _page(admin_app(facts), "admin", settings.socket, open_to_all=settings.allow_open)


def _portal(parts: _Parts) -> AsgiServer:
    app = portal_app(parts.loop.snapshot, parts.clock.monotonic, __version__)
    settings = parts.config.portal
    return _page(app, "portal", settings.socket, open_to_all=settings.allow_open)


def _page(app: Any, name: str, where: Socket | None, *, open_to_all: bool) -> AsgiServer:
    guarded = app if open_to_all or where is None else HostGuard(app, where.host)
    return AsgiServer(guarded, name, logging.get(name))


# ── starting and stopping ─────────────────────────────────────────────────────────────────────


async def _start(parts: _Parts, wanted: DesiredChanged) -> None:
    """Make and start every part whose socket is configured."""
    config, bound, loop = parts.config, parts.bound, parts.loop
    heard: Callable[[], list[Any]] = list
    if "control_plane" in bound:
        parts.control = _control_server(parts)
        heard = parts.control.heard
    if "gateway" in bound:
        parts.gateway = _gateway(parts)
    demand = parts.gateway.demand if parts.gateway is not None else tuple
    loop.connect(parts.dispatcher.carry_out, parts.dispatcher.answered, heard, demand)
    loop.report(parts.demand.load())
    for event in parts.memory.load():
        loop.report(event)
    loop.report(wanted)
    fleet_metrics = FleetMetrics(parts.metrics)
    parts.metrics.before_render(lambda: fleet_metrics.update(loop.snapshot()))
    loop.subscribe(parts.memory.note)
    parts.memory.start(parts.tasks)
    parts.demand.start(parts.tasks)
    start_vitals(parts.metrics, __version__, parts.clock, parts.tasks)
    loop.start()
    if parts.gateway is not None:
        woken = parts.gateway.snapshot_published
        loop.subscribe(lambda _snapshot: woken())
        context = server_context(config.gateway.tls_certificate_file, config.gateway.tls_key_file)
        await parts.gateway.start(bound["gateway"], context)
    if parts.control is not None:
        plane = config.control_plane
        context = server_context(plane.tls_certificate_file, plane.tls_key_file)
        await parts.control.start(bound["control_plane"], context)
    for name, make in (("admin", _admin), ("portal", _portal)):
        if name in bound:
            server = make(parts)
            parts.pages.append(server)
            await server.start(bound[name])


def _steps(parts: _Parts) -> list[Step]:
    """Return what stopping does, in order. Neurons stay connected until requests are done."""
    control, gateway = parts.control, parts.gateway
    because = parts.stop.because or "cortex is stopping"
    steps: list[Step] = []
    if control is not None:
        steps.append(Step("take no more neurons", control.stop_accepting, STEP_S))
    steps.append(
        Step(
            "tell neurons", lambda: parts.dispatcher.say_goodbye(because, RECONNECT_AFTER_S), STEP_S
        )
    )
    if gateway is not None:
        pipeline, drain_s = gateway.pipeline, parts.config.shutdown.drain_s
        steps += [
            Step("drain requests", lambda: gateway.drain(drain_s), drain_s + 2.0, patient=True),
            Step("cut what is left", lambda: pipeline.abandon_all("this server stops"), STEP_S),
        ]
    steps += [
        Step("end background work", parts.tasks.close, STEP_S),
        Step("keep the fleet's memory", parts.memory.flush, STEP_S),
        Step("keep what was learned", parts.demand.flush, STEP_S),
    ]
    if gateway is not None:
        steps.append(Step("close the gateway", gateway.close, STEP_S))
    if control is not None:
        steps.append(Step("close neurons' connections", control.close, STEP_S))
    steps += [Step("close a page", server.close, STEP_S) for server in parts.pages]
    steps.append(Step("close the control loop", parts.loop.close, STEP_S))
    return steps


# ── sockets ───────────────────────────────────────────────────────────────────────────────────


def _wanted_sockets(config: CortexConfig) -> dict[str, Socket | None]:
    return {
        "gateway": config.gateway.socket,
        "control_plane": config.control_plane.socket,
        "admin": config.admin.socket,
        "portal": config.portal.socket,
    }


def _join_info(settings: ControlPlaneSettings, bound: list[socket.socket]) -> JoinInfo:
    """Return how to join; where it listens on every interface, by this machine's name."""
    token_file = str(settings.join_token_file) if settings.join_token_file is not None else ""
    if settings.socket is None or not bound:
        return JoinInfo("", token_needed=False)
    host = socket.gethostname() if settings.socket.is_wildcard else settings.socket.host
    scheme = "wss" if settings.tls_certificate_file is not None else "ws"
    where = Socket(host, bound[0].getsockname()[1])
    return JoinInfo(f"{scheme}://{where}", token_needed=bool(token_file), token_file=token_file)
