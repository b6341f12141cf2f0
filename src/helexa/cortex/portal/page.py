"""The status page as HTML text. Pure; every value is escaped where it enters."""

from collections.abc import Iterable
from html import escape
from typing import Any

from helexa.cortex.observe import views
from helexa.cortex.orchestrator.board import gibibytes
from helexa.cortex.orchestrator.snapshot import FleetSnapshot

REFRESH_S = 5

STYLE = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
caption { font-weight: 600; text-align: left; padding: 1rem 0 .25rem; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent);
  padding: .35rem .75rem .35rem 0; text-align: left; vertical-align: top; }
.ok { color: light-dark(#0a6b2d, #6fdc94); }
.bad { color: light-dark(#a11212, #ff9a9a); }
"""


def page(snapshot: FleetSnapshot, now: float, version: str) -> str:
    """Return the whole page; `now` is monotonic seconds."""
    problems = views.problems(snapshot)
    verdict = (
        '<p class="ok">Everything that is wanted is up.</p>'
        if not problems
        else "<ul>" + "".join(f'<li class="bad">{escape(p)}</li>' for p in problems) + "</ul>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}">'
        '<title>helexa</title><link rel="stylesheet" href="style.css"></head><body>'
        f"<h1>helexa <small>{escape(version)}</small></h1><main>{verdict}"
        f"{_models(snapshot)}{_neurons(snapshot, now)}</main></body></html>"
    )


def _models(snapshot: FleetSnapshot) -> str:
    rows = (
        (
            model["id"],
            model["state"],
            model["because"] or ", ".join(r["neuron"] for r in model["replicas"]),
            model["engine"],
        )
        for model in views.models(snapshot)
    )
    return _table("Models", ("Model", "State", "Where or why", "Engine"), rows)


def _neurons(snapshot: FleetSnapshot, now: float) -> str:
    rows = (
        (
            neuron["id"],
            neuron["state"],
            f"{neuron['heard_s_ago']:.0f} s ago",
            _share(neuron["memory"]["booked_bytes"], neuron["memory"]["budget_bytes"]),
            neuron["load"]["active_requests"],
        )
        for neuron in views.neurons(snapshot, now)
    )
    heads = ("Neuron", "State", "Heard", "Memory booked", "Requests")
    return _table("Neurons", heads, rows)


def _share(booked_bytes: int, budget_bytes: int) -> str:
    return f"{gibibytes(booked_bytes)} of {gibibytes(budget_bytes)}"


def _table(caption: str, heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    none = f'<tr><td colspan="{len(heads)}">none</td></tr>'
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body or none}</tbody></table>"
    )
