"""The answers of the admin API as one screen for people. Pure: values in, text out."""

from collections.abc import Mapping
from typing import Any

from helexa.cli.progress import size_text
from helexa.cli.table import clean, table_text

Json = Mapping[str, Any]
UNKNOWN = "-"


def status_text(status: Json, join_command: str) -> str:
    """Return the screen of `helexa status`."""
    sockets = " · ".join(f"{name} {where}" for name, where in status["sockets"].items())
    requests = status["requests"]
    about = [f"cortex {status['cortex_id']}", f"helexa {status['version']}", status["state"]]
    parts = [
        " · ".join([*about, f"up {duration_text(status['uptime_s'])}"]),
        sockets,
        f"requests: {requests['in_flight']} in flight, {requests['held']} held",
        "",
        neurons_text(status["neurons"]),
        "",
        models_text(status["models"]),
        "",
    ]
    problems = status["problems"]
    parts += ["problems:", *(f"  {clean(problem)}" for problem in problems)] if problems else []
    parts.append(f"next: {next_step(status, join_command)}")
    return "\n".join(parts)


def neurons_text(neurons: list[Json]) -> str:
    """Return the neurons as a table."""
    if not neurons:
        return "no neurons"
    heads = ["NEURON", "STATE", "MARK", "MODELS", "SEATS", "WAITING", "MEMORY", "CPU", "HEARD"]
    heads.append("ENGINES")
    return table_text(heads, [_neuron_row(neuron) for neuron in neurons])


def _neuron_row(neuron: Json) -> list[str]:
    memory, load = neuron["memory"], neuron["load"]
    loaded = {name: each for name, each in neuron["models"].items() if each["state"] == "loaded"}
    seats = sum(each["seats"] for each in loaded.values())
    return [
        neuron["id"],
        neuron["state"],
        "draining" if neuron["draining"] else "cordoned" if neuron["cordoned"] else UNKNOWN,
        ", ".join(loaded) or UNKNOWN,
        f"{load['active_requests']}/{seats}",
        str(load["waiting_requests"]),
        f"{size_text(memory['booked_bytes'])} of {size_text(memory['budget_bytes'])}",
        f"{load['cpu_ratio'] * 100:.0f} %",
        f"{duration_text(neuron['heard_s_ago'])} ago",
        ", ".join(neuron["engines"]),
    ]


def models_text(models: list[Json]) -> str:
    """Return the models as a table."""
    if not models:
        return "no models"
    heads = ["MODEL", "STATE", "ENGINE", "NEURONS", "SEATS", "CONTEXT", "MEMORY", "DOES", "WHY"]
    return table_text(heads, [_model_row(model) for model in models])


def _model_row(model: Json) -> list[str]:
    capability = model["capability"] or {}
    replicas = model["replicas"]
    seats = sum(replica["seats"] for replica in replicas)
    own = sum(replica["engine_seats"] for replica in replicas)
    busy = sum(replica["active_requests"] for replica in replicas)
    state = model["state"]
    if state == "loading" and model["progress"] is not None:
        state = f"loading {model['progress'] * 100:.0f} %"
    memory_bytes = capability.get("memory_bytes")
    why = model["because"]
    if model["next_attempt_in_s"] is not None:
        why = f"{why} (next try in {duration_text(model['next_attempt_in_s'])})".strip()
    return [
        " ".join([model["id"], *(f"({alias})" for alias in model["aliases"])]),
        state,
        model["engine"],
        ", ".join(replica["neuron"] for replica in replicas) or UNKNOWN,
        (f"{busy}/{seats}" + (f" of {own}" if own > seats else "")) if replicas else UNKNOWN,
        str(capability.get("context_tokens") or UNKNOWN),
        size_text(memory_bytes) if memory_bytes else UNKNOWN,
        _abilities(capability),
        why,
    ]


def _abilities(capability: Json) -> str:
    """Return what a model is known to do; what nobody knows is left out."""
    flags = [name for name in ("tools", "json_schema") if capability.get(name)]
    return " ".join([*capability.get("workloads", ()), *flags]) or UNKNOWN


def next_step(status: Json, join_command: str) -> str:
    """Return the one thing to do next, as a command where there is one."""
    models = status["models"]
    connected = [neuron for neuron in status["neurons"] if neuron["state"] == "connected"]
    if status["state"] != "running":
        return "this cortex is stopping; start it again when it is gone"
    if not connected:
        return join_command or "start a neuron; this cortex's control plane is off"
    if not models:
        return "name a model in the config ([[models]]); `helexa pull` lists some"
    if any(model["state"] == "loading" for model in models):
        return "wait for what is loading, then: helexa status"
    broken = [model for model in models if model["state"] in {"failed", "degraded"}]
    if broken:
        return f"read why {broken[0]['id']} is {broken[0]['state']} above, and its neuron's log"
    loaded = next((model["id"] for model in models if model["state"] == "loaded"), "")
    return f"helexa chat --model {loaded or models[0]['id']}"


def duration_text(seconds: float) -> str:
    """Return a time span for people: `3 h 12 min`, `45 s`."""
    whole = int(seconds)
    for size, unit, smaller_size, smaller in (
        (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")
    ):  # fmt: skip
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
