"""Turns figures into a table for people: absolute values, ratios, and goals met or not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measure import Figures
from bench.scenarios import Kind, Scenario

Results = Mapping[str, Mapping[str, Figures]]  # scenario name, then target name

EXPLANATION = """\
Two kinds of ratio, not to be mixed up:
  wall       by the clock on the wall, to the target named. The load tool, the mock and helexa's
             neuron share one core, so for helexa this also counts what that core cannot do.
  per CPU-s  requests per second of CPU time that the gateway process itself used: what its core
             can carry if nothing else holds it up. The goals of throughput are stated in this.
"busy" is how much of its core the gateway used; well below 100 % something else was the limit."""


def ratio(left: float | None, right: float | None) -> float | None:
    """Return left / right, None when one is missing or right is 0."""
    return None if left is None or not right else left / right


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; the value is computed from a target's figures and all targets'."""

    title: str
    value: Callable[[Figures, Mapping[str, Figures]], float | None]
    form: str = ",.0f"


def _own(name: str) -> Callable[[Figures, Mapping[str, Figures]], float | None]:
    def value(figures: Figures, _: Mapping[str, Figures]) -> float | None:
        return figures.as_dict()[name]

    return value


def _over(name: str, other: str) -> Callable[[Figures, Mapping[str, Figures]], float | None]:
    def value(figures: Figures, targets: Mapping[str, Figures]) -> float | None:
        base = targets.get(other)
        return None if base is None else ratio(figures.as_dict()[name], base.as_dict()[name])

    return value


_FAULTS = Column("faults", _own("faults"))
_BUSY = Column("busy", _own("gateway_busy"), ".0%")
_ANSWERS = (
    Column("req/s wall", _own("requests_per_s")),
    Column("/direct", _over("requests_per_s", "direct"), ".2f"),
    Column("/nginx", _over("requests_per_s", "nginx"), ".2f"),
    Column("req per CPU-s", _own("requests_per_cpu_s")),
    Column("/nginx", _over("requests_per_cpu_s", "nginx"), ".2f"),
    Column("gateway µs/req", _own("gateway_us_per_request"), ".1f"),
    Column("neuron µs/req", _own("neuron_us_per_request"), ".1f"),
    Column("p50 µs", _own("latency_p50_us")),
    Column("p99 µs", _own("latency_p99_us")),
    _BUSY,
    _FAULTS,
)
_STREAMS = (
    Column("streams/s wall", _own("requests_per_s")),
    Column("/direct", _over("requests_per_s", "direct"), ".2f"),
    Column("/nginx", _over("requests_per_s", "nginx"), ".2f"),
    Column("events per CPU-s", _own("events_per_cpu_s")),
    Column("/nginx", _over("events_per_cpu_s", "nginx"), ".2f"),
    Column("gateway µs/event", _own("gateway_us_per_event"), ".2f"),
    Column("neuron µs/event", _own("neuron_us_per_event"), ".2f"),
    Column("first p50 µs", _own("first_event_p50_us")),
    Column("relay p50 µs", _own("relay_p50_us")),
    Column("p99 µs", _own("relay_p99_us")),
    _BUSY,
    _FAULTS,
)
_HOLD = (
    Column("held", _own("held")),
    Column("gateway MiB", _own("gateway_rss_mib"), ",.1f"),
    Column("KiB/stream", _own("gateway_kib_per_stream"), ",.1f"),
    Column("neuron MiB", _own("neuron_rss_mib"), ",.1f"),
    Column("not released", _own("not_released")),
    _FAULTS,
)
COLUMNS: Mapping[Kind, Sequence[Column]] = {
    Kind.ANSWERS: _ANSWERS,
    Kind.STREAMS: _STREAMS,
    Kind.HOLD: _HOLD,
}


def _format(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def table(scenario: Scenario, targets: Mapping[str, Figures]) -> str:
    """Return one scenario's table."""
    columns = COLUMNS[scenario.kind]
    rows = [["", *(column.title for column in columns)]]
    for name, figures in targets.items():
        cells = [_format(column.value(figures, targets), column.form) for column in columns]
        rows.append([name, *cells])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [f"{scenario.name}: {scenario.title}"]
    for row in rows:
        padded = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(["  " + row[0].ljust(widths[0]), *padded]))
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise about helexa, as a number with a bound."""

    title: str
    value: Callable[[Results], float | None]
    bound: float
    at_least: bool
    unit: str

    def is_met(self, results: Results) -> bool | None:
        """Tell whether it holds; None when it was not measured."""
        value = self.value(results)
        if value is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound


def _figure(results: Results, scenario: str, target: str, name: str) -> float | None:
    figures = results.get(scenario, {}).get(target)
    return None if figures is None else figures.as_dict()[name]


def _against_nginx(scenario: str, name: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        return ratio(
            _figure(results, scenario, "helexa", name), _figure(results, scenario, "nginx", name)
        )

    return value


def _added_p50_ms(results: Results) -> float | None:
    through = _figure(results, "nonstream-1", "helexa", "latency_p50_us")
    direct = _figure(results, "nonstream-1", "direct", "latency_p50_us")
    return None if through is None or direct is None else (through - direct) / 1000.0


def _memory_mib(results: Results) -> float | None:
    """Memory with 5,000 open streams, if all of them were really held."""
    held = _figure(results, "open-5000", "helexa", "held")
    if held is None or held < 5000:
        return None
    return _figure(results, "open-5000", "helexa", "gateway_rss_mib")


GOALS = (
    Goal(
        "plain answers per CPU-second of the gateway",
        _against_nginx("nonstream-16", "requests_per_cpu_s"),
        bound=0.6,
        at_least=True,
        unit="x nginx",
    ),
    Goal(
        "burst streams per CPU-second of the gateway",
        _against_nginx("burst-64", "requests_per_cpu_s"),
        bound=0.6,
        at_least=True,
        unit="x nginx",
    ),
    Goal(
        "gateway CPU per event, 64 streams paced at 2 ms",
        _against_nginx("paced-2ms-64", "gateway_us_per_event"),
        bound=1.0,
        at_least=False,
        unit="x nginx",
    ),
    Goal(
        "latency added at one connection, p50, both hops",
        _added_p50_ms,
        bound=0.5,
        at_least=False,
        unit="ms",
    ),
    Goal(
        "gateway memory with 5,000 open streams",
        _memory_mib,
        bound=250.0,
        at_least=False,
        unit="MiB",
    ),
)
_VERDICTS: Mapping[bool | None, str] = {True: "met", False: "NOT MET", None: "not measured"}


def goals_table(results: Results) -> str:
    """Return each goal with what was measured and whether it holds."""
    lines = ["goals"]
    for goal in GOALS:
        sign = "≥" if goal.at_least else "≤"
        measured = _format(goal.value(results), ",.2f")
        verdict = _VERDICTS[goal.is_met(results)]
        bound = f"{sign} {goal.bound:g} {goal.unit}"
        lines.append(f"  {goal.title:<50} {bound:<14} {measured:>8}  {verdict}")
    return "\n".join(lines)
