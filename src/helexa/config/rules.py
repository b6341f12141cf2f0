"""Rules that look at several settings together. Pure; files are checked in `load`.

Each finding is a path and a sentence. The place in a file is added by whoever knows origins.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from helexa.config.cortex import CortexConfig, ModelEntry
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import Path, did_you_mean, dotted, show
from helexa.config.sockets import Socket
from helexa.protocol.model import ModelConfig

ENGINES: Final = ("llamacpp", "vllm", "openai", "echo")
ATTACHING: Final = frozenset({"openai"})
"""Engines that use a running server instead of starting one."""
FINDINGS_MAX: Final = 100
"""Neighbours that are told to be wrong: each is compared with the names of all models."""

EngineProblems = Callable[[ModelConfig], Sequence[str]]
"""Says what an engine finds wrong with a model's options; its description does that."""


class Finding(NamedTuple):
    """One broken rule: where, what, and the value it is about."""

    path: Path
    message: str
    value: str = ""
    also: tuple[Path, ...] = ()
    """Other settings that it rests on; where one of them is wrong in itself, this says nothing."""


def validate_cortex(config: CortexConfig, engine_problems: EngineProblems) -> list[Finding]:
    """Return every rule that these settings break."""
    return [
        *_conflicts(
            ("gateway", config.gateway.socket),
            ("control_plane", config.control_plane.socket),
            ("admin", config.admin.socket),
            ("portal", config.portal.socket),
        ),
        *_open_sockets(config),
        *_certificates(config),
        *_bodies(config),
        *_liveness(config),
        *model_findings(config.models, engine_problems),
        *islice(_neighbours(config.models), FINDINGS_MAX),
        *_defaults(config),
    ]


def validate_neuron(config: NeuronConfig) -> list[Finding]:
    """Return every rule that these settings break."""
    return [
        *(
            _open_socket("api", config.api.socket, "nobody is asked for a key")
            if not config.api.allow_open
            else ()
        ),
        *_control_endpoint(config),
        *_engines(config),
    ]


def conflict_between(cortex: CortexConfig, neuron: NeuronConfig) -> list[Finding]:
    """Return sockets of two roles that cannot be listened on together (one host runs both)."""
    return list(
        _conflicts(
            ("gateway", cortex.gateway.socket),
            ("control_plane", cortex.control_plane.socket),
            ("admin", cortex.admin.socket),
            ("portal", cortex.portal.socket),
            ("api", neuron.api.socket),
        )
    )


def _conflicts(*listeners: tuple[str, Socket | None]) -> Iterator[Finding]:
    for index, (name, socket) in enumerate(listeners):
        for other_name, other in listeners[:index]:
            if socket is not None and other is not None and socket.overlaps(other):
                yield Finding(
                    (name, "socket"),
                    f"port conflict: {other_name}.socket is {other}; give one of them another port",
                    show(str(socket)),
                    ((other_name, "socket"),),
                )


def _open_sockets(config: CortexConfig) -> Iterator[Finding]:
    gateway, plane, auth = config.gateway, config.control_plane, config.auth
    if not (gateway.allow_open or auth.keys_file is not None):
        why = "callers are asked for no key; set auth.keys_file"
        yield from _open_socket("gateway", gateway.socket, why, ("auth", "keys_file"))
    if not (plane.allow_open or plane.join_token_file is not None):
        why = "neurons are asked for no token; set control_plane.join_token_file"
        token = ("control_plane", "join_token_file")
        yield from _open_socket("control_plane", plane.socket, why, token)
    for name, group in (("admin", config.admin), ("portal", config.portal)):
        if not group.allow_open:
            yield from _open_socket(name, group.socket, "nobody is asked for a key")


def _open_socket(name: str, socket: Socket | None, why: str, also: Path = ()) -> Iterator[Finding]:
    if socket is not None and not socket.is_loopback:
        yield Finding(
            (name, "socket"),
            f"other machines can reach it and {why}, or say {name}.allow_open = true; "
            "allowed without: a loopback address such as 127.0.0.1",
            show(str(socket)),
            ((name, "allow_open"), *([also] if also else [])),
        )


def _certificates(config: CortexConfig) -> Iterator[Finding]:
    for name, group in (("gateway", config.gateway), ("control_plane", config.control_plane)):
        pair = ("tls_certificate_file", "tls_key_file")
        given = [getattr(group, part) is not None for part in pair]
        if given[0] != given[1]:
            missing = pair[1] if given[0] else pair[0]
            other = pair[0] if given[0] else pair[1]
            message = f"is needed together with {name}.{other}"
            yield Finding((name, missing), message, also=((name, other),))


def _bodies(config: CortexConfig) -> Iterator[Finding]:
    gateway = config.gateway
    if gateway.bodies_bytes_max < gateway.body_bytes_max:
        yield Finding(
            ("gateway", "bodies_bytes_max"),
            f"must not be less than body_bytes_max ({gateway.body_bytes_max})",
            show(gateway.bodies_bytes_max),
            (("gateway", "body_bytes_max"),),
        )


def _liveness(config: CortexConfig) -> Iterator[Finding]:
    plane = config.control_plane
    if not plane.heartbeat_interval_s < plane.suspect_after_s < plane.lost_after_s:
        yield Finding(
            ("control_plane", "suspect_after_s"),
            f"must lie between heartbeat_interval_s ({plane.heartbeat_interval_s:g}) and "
            f"lost_after_s ({plane.lost_after_s:g})",
            show(plane.suspect_after_s),
            (("control_plane", "heartbeat_interval_s"), ("control_plane", "lost_after_s")),
        )
    provisioning = config.provisioning
    if provisioning.retry_initial_s > provisioning.retry_ceiling_s:
        yield Finding(
            ("provisioning", "retry_initial_s"),
            f"must not be longer than retry_ceiling_s ({provisioning.retry_ceiling_s:g})",
            show(provisioning.retry_initial_s),
            (("provisioning", "retry_ceiling_s"),),
        )


def model_findings(
    models: Sequence[ModelEntry], engine_problems: EngineProblems
) -> Iterator[Finding]:
    """Yield every rule that models break, each by itself or by having a name of another."""
    yield from name_findings(models)
    for index, entry in enumerate(models):
        at: Path = ("models", index)
        yield from _replicas(entry, at)
        yield from _engine(entry, at, engine_problems)


def name_findings(models: Sequence[ModelEntry]) -> Iterator[Finding]:
    """Yield every name that is there twice."""
    owners: dict[str, Path] = {}
    for index, entry in enumerate(models):
        for name, path in _names(entry, ("models", index)):
            if name in owners:
                taken = dotted(owners[name])
                yield Finding(path, f"the name is taken already, by {taken}", show(name))
            owners.setdefault(name, path)


def _replicas(entry: ModelEntry, at: Path) -> Iterator[Finding]:
    """A config and a spec may each say one of the two, so that only together they are wrong."""
    least, most = entry.min_replicas or 0, entry.max_replicas
    if "max_replicas" in entry.model_fields_set and most is not None and least > most:
        because = f"must not be less than min_replicas ({least})"
        yield Finding((*at, "max_replicas"), because, show(most), ((*at, "min_replicas"),))


def _neighbours(models: Sequence[ModelEntry]) -> Iterator[Finding]:
    """Models that others must be with, or apart from, must be models, and one of the two."""
    known = {entry.id: entry.placement for entry in models}
    for index, entry in enumerate(models):
        placement = entry.placement
        for key, names in (("with", placement.beside), ("apart_from", placement.apart_from)):
            for number, name in enumerate(names):
                if name == entry.id:
                    because = "is the model itself"
                elif name not in known:
                    because = "no model has this id" + did_you_mean(name, known.keys() - {entry.id})
                elif key == "with" and (
                    name in placement.apart_from or entry.id in known[name].apart_from
                ):
                    because = "must also be apart from it (apart_from); leave one of the two out"
                else:
                    continue
                path: Path = ("models", index, "placement", key, number)
                yield Finding(path, because, show(name))


def _names(entry: ModelEntry, at: Path) -> Iterator[tuple[str, Path]]:
    yield entry.id, (*at, "id")
    for number, alias in enumerate(entry.aliases):
        yield alias, (*at, "aliases", number)


def _engine(entry: ModelEntry, at: Path, engine_problems: EngineProblems) -> Iterator[Finding]:
    if entry.engine not in ENGINES:
        advice = did_you_mean(entry.engine, ENGINES)
        allowed = ", ".join(ENGINES)
        yield Finding(
            (*at, "engine"), f"no such engine; allowed: {allowed}{advice}", show(entry.engine)
        )
        return
    if entry.engine in ATTACHING and entry.listen_endpoint is None:
        yield Finding(
            (*at, "listen_endpoint"),
            f"is missing: the engine {entry.engine!r} attaches to a running server and must be "
            "told its base URL, such as http://127.0.0.1:11434",
        )
        return
    if entry.engine not in ATTACHING and entry.listen_endpoint is not None:
        yield Finding(
            (*at, "listen_endpoint"),
            f"the engine {entry.engine!r} starts its own server; leave it out, or use the "
            'engine "openai" to attach to this one',
            show(str(entry.listen_endpoint)),
        )
        return
    for message in engine_problems(entry.to_protocol()):
        yield Finding((*at, "options"), message)


def _defaults(config: CortexConfig) -> Iterator[Finding]:
    known = {name for entry in config.models for name in (entry.id, *entry.aliases)}
    for field in type(config.default_models).model_fields:
        name = getattr(config.default_models, field)
        if name is not None and known and name not in known:
            advice = did_you_mean(name, known)
            yield Finding(
                ("default_models", field), f"no model of this name is configured{advice}",
                show(name),
            )  # fmt: skip


def _control_endpoint(config: NeuronConfig) -> Iterator[Finding]:
    endpoint = config.cortex_control_endpoint
    at: Path = ("cortex_control_endpoint",)
    if endpoint is None:
        yield Finding(
            at, "the control endpoint is missing: a neuron must know the cortex it belongs to, "
            "such as ws://127.0.0.1:9040",
        )  # fmt: skip
    elif endpoint.path:
        yield Finding(at, "must have no path; allowed: ws://host:port", show(str(endpoint)))
    elif not (endpoint.is_encrypted or endpoint.is_loopback or config.allow_cleartext):
        yield Finding(
            at, "prompts would travel unencrypted to another machine; use wss://, or say "
            "allow_cleartext = true (--allow-cleartext)",
            show(str(endpoint)),
        )  # fmt: skip


def _engines(config: NeuronConfig) -> Iterator[Finding]:
    engines = config.engines
    for index, name in enumerate(engines.allowed):
        if name not in ENGINES:
            advice = did_you_mean(name, ENGINES)
            yield Finding(
                ("engines", "allowed", index),
                f"no such engine; allowed: {', '.join(ENGINES)}{advice}", show(name),
            )  # fmt: skip
    if not engines.allowed:
        yield Finding(("engines", "allowed"), "at least one engine must be allowed", "[]")
    if engines.port_first > engines.port_last:
        yield Finding(
            ("engines", "port_first"), f"must not be above port_last ({engines.port_last})",
            show(engines.port_first),
        )  # fmt: skip
    socket = config.api.socket
    if socket is not None and engines.port_first <= socket.port <= engines.port_last:
        yield Finding(
            ("api", "socket"),
            f"port conflict: engines get the ports {engines.port_first} to {engines.port_last}",
            show(str(socket)),
        )
