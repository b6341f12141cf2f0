"""Why a model is placed as it is, as text for people. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from helexa.cli.progress import size_text
from helexa.cli.status_view import UNKNOWN, duration_text
from helexa.cli.table import clean, table_text

Json = Mapping[str, Any]
_RULES: Final = ("priority", "weight", "min_replicas", "max_replicas", "keep_alive_s", "pinned",
                 "forecast")  # fmt: skip


def placement_text(told: Json) -> str:
    """Return what is wanted and why, the funnel, who is left, and what one more would do."""
    rules = told["rules"]
    shown = ", ".join(f"{name} {_value(rules[name])}" for name in _RULES)
    wanted = f"{told['wanted']} wanted, {len(told['replicas'])} loaded"
    lines = [
        f"model {told['model']} · {wanted} · needs {_size(told['needs_bytes'])}",
        f"why so many: {told['wanted_because'] or UNKNOWN}",
        f"rules: {shown}",
        *_where_rules(rules["placement"]),
        f"demand: {_demand(told['demand'])}",
        *(_seats(each) for each in told["seats"]),
        *_forecast(told["forecast"], is_on=rules["forecast"]),
    ]
    if told["turn"] is not None:
        lines.append(f"its turn for what is free: {told['turn']}.")
    for step in told["funnel"]:
        lines += ["", f"removed by {step['filter']}:"]
        for removed in step["removed"]:
            helps = f"; {removed['would_help']}" if removed.get("would_help") else ""
            lines.append(f"  {removed['neuron']}: {removed['because']}{helps}")
    text = "\n".join(clean(line) for line in lines)
    if told["candidates"]:
        text += f"\n\n{_candidates(told)}"
    return f"{text}\n\n{clean(told['because'])}"


def _candidates(told: Json) -> str:
    rows = [
        [
            "→" if each["neuron"] == told["next"] else "",
            each["neuron"],
            _size(each["free_bytes"]),
            "yes" if each["has_config"] else "no",
            "yes" if each["apart_from_others"] else "no",
            ", ".join(each["evicts"]) or UNKNOWN,
        ]
        for each in told["candidates"]
    ]
    return table_text(["", "NEURON", "FREE", "HAS CONFIG", "APART", "EVICTS"], rows)


def _where_rules(placement: Json) -> list[str]:
    said = [f"{name} {_value(value)}" for name, value in placement.items() if value]
    return [f"placement: {', '.join(said)}"] if said else []


def _demand(demand: Json | None) -> str:
    if demand is None:
        return "nothing is known of it"
    rates = demand["requests_per_s"]
    return (
        f"{rates['minute']:g} requests/s (10 min {rates['ten_minutes']:g}, hour {rates['hour']:g})"
        f", {demand['service_s']:g} s each, {demand['expected_concurrency']:g} at a time"
        f", {demand['in_flight']} in flight, {demand['waiting']} waiting"
        f", idle {duration_text(demand['idle_s'])}"
    )


def _seats(told: Json) -> str:
    """Return a line on a replica's seats, and on why they are fewer than its engine has."""
    line = f"seats on {told['neuron']}: {told['seats']} of {told['engine_seats']}"
    if told["seats"] < told["engine_seats"]:
        line += ", because more at a time bring no more"
    if told["probing"]:
        line += ", more are being tried"
    curve = ", ".join(f"{speed:.4g} at {count}" for count, speed in told["tokens_per_s"].items())
    return f"{line} (tokens/s: {curve})" if curve else line


def _forecast(forecast: Json, *, is_on: bool) -> list[str]:
    hours = "; ".join(forecast["hours"])
    if not hours:
        return []
    if not is_on:
        return [f"not warm by forecast, which is off: {hours}"]
    now = f" (now: {forecast['warm']})" if forecast["warm"] else ""
    return [f"warm by forecast{now}: {hours}"]


def _size(count: int | None) -> str:
    return UNKNOWN if count is None else size_text(count)


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
