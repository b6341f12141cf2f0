"""Why a request went where it went, as text for people. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from helexa.cli.status_view import UNKNOWN
from helexa.cli.table import clean, table_text

Json = Mapping[str, Any]
_OK: Final = "yes"


def request_text(told: Json) -> str:
    """Return the timeline of a request, and the candidates of each decision about it."""
    lines = [clean(_head(told)), "", _timeline(told["timeline"])]
    times = told.get("on_the_neuron")
    if times is not None:
        first = times["first_token_ms"]
        shown = UNKNOWN if first is None else f"{first:.1f} ms"
        lines.append(
            f"on the neuron: queued {times['queued_ms']:.1f} ms, first token after {shown},"
            f" all of it {times['duration_ms']:.1f} ms"
        )
    for number, decision in enumerate(told["decisions"], 1):
        lines += ["", clean(_title(number, decision)), *_candidates(decision)]
    return "\n".join(lines)


def _head(told: Json) -> str:
    asked = told["asked_model"] or "no model named"
    parts = [f"request {told['request_id']}", f"{told['operation'] or UNKNOWN} of {asked}"]
    if told["workload_class"]:
        parts.append(told["workload_class"])
    if told["state"] == "running":
        return " · ".join([*parts, "running"])
    parts.append(f"{told['outcome']} {told['status']} {told['code'] or ''}".strip())
    if told["completion_tokens"] is not None:
        parts.append(f"{told['prompt_tokens']} + {told['completion_tokens']} tokens")
    if told["attempts"] > 1:
        parts.append(f"{told['attempts']} attempts")
    return " · ".join(parts)


def _timeline(steps: list[Json]) -> str:
    rows = [[f"{step['at_ms']:.1f} ms", step["event"], step["detail"]] for step in steps]
    return table_text(["AT", "WHAT", "DETAIL"], rows)


def _title(number: int, decision: Json) -> str:
    where = f"{decision['model']} on {decision['chosen']}" if decision["chosen"] else "nowhere"
    return f"decision {number}, after {decision['at_ms']:.1f} ms: {where}; {decision['because']}"


def _candidates(decision: Json) -> list[str]:
    candidates = decision["candidates"]
    if not candidates:
        return []
    scorers = list(dict.fromkeys(name for each in candidates for name in each["scores"]))
    heads = ["", "NEURON", "ELIGIBLE", "SCORE", *(name.upper() for name in scorers), "REMOVED BY"]
    rows = [
        [
            "→" if each["neuron"] == decision["chosen"] else "",
            each["neuron"],
            _OK if each["eligible"] else "no",
            _score(each["score"]),
            *(_score(each["scores"].get(name)) for name in scorers),
            f"{each['filter']}: {each['because']}" if each["filter"] else "",
        ]
        for each in candidates
    ]
    lines = [f"  {line}" for line in table_text(heads, rows).splitlines()]
    if not decision["in_flight_known"]:
        lines.append(
            "  (of so large a fleet the requests in flight are not remembered: shown as 0)"
        )
    return lines


def _score(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"
