"""Metrics behind a small interface: counters, gauges, histograms.

The default, `NoMetrics`, does nothing, so code runs unchanged where nobody asks for metrics.
`PrometheusMetrics` keeps one registry per process and prints the Prometheus text format.
Label sets are bounded: past `SERIES_MAX` series of one metric, further label values read "other".
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

SERIES_MAX: Final = 500
# Doubling, from the OpenTelemetry GenAI durations, extended to long answers.
LATENCY_S: Final = tuple(0.005 * 2**n for n in range(18))
# Fine below a second, wide above it: cold starts are part of a first token's time.
FIRST_TOKEN_S: Final = (
    0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
    160.0,
)  # fmt: skip
LOAD_S: Final = tuple(float(2**n) * 0.25 for n in range(14))
_S = TypeVar("_S")
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Cell(Protocol):
    """One series of a counter or gauge."""

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""

    def set(self, value: float) -> None:
        """Replace the value: a gauge's, or that of a counter which somebody else counts."""


class Observer(Protocol):
    """One series of a histogram."""

    def observe(self, value: float) -> None:
        """Count one value."""


class Metrics(Protocol):
    """Where numbers go. Asking for the same series again returns the same one."""

    def counter(self, name: str, text: str, /, **labels: str) -> Cell:
        """Return the series of a counter; `name` ends in `_total`."""
        ...

    def gauge(self, name: str, text: str, /, **labels: str) -> Cell:
        """Return the series of a gauge."""
        ...

    def histogram(
        self, name: str, text: str, buckets: Sequence[float], /, **labels: str
    ) -> Observer:
        """Return the series of a histogram with these upper bounds."""
        ...

    def clear(self, *names: str) -> None:
        """Forget all series of these metrics: what they told of may be gone."""

    def before_render(self, collect: Callable[[], None]) -> None:
        """Call `collect` whenever somebody asks, to bring gauges up to date; it must not raise."""

    def render(self) -> bytes:
        """Return all series in the Prometheus text format."""
        ...


class _Nothing:
    def inc(self, amount: float = 1.0) -> None:
        """Ignore it."""

    def set(self, value: float) -> None:
        """Ignore it."""

    def observe(self, value: float) -> None:
        """Ignore it."""


_NOTHING: Final = _Nothing()


class NoMetrics:
    """The default: every number goes nowhere."""

    def counter(self, name: str, text: str, /, **labels: str) -> Cell:
        """Return a series that ignores what it is told."""
        return _NOTHING

    def gauge(self, name: str, text: str, /, **labels: str) -> Cell:
        """Return a series that ignores what it is told."""
        return _NOTHING

    def histogram(
        self, name: str, text: str, buckets: Sequence[float], /, **labels: str
    ) -> Observer:
        """Return a series that ignores what it is told."""
        return _NOTHING

    def clear(self, *names: str) -> None:
        """Forget nothing: there is nothing."""

    def before_render(self, collect: Callable[[], None]) -> None:
        """Ignore it: nobody asks."""

    def render(self) -> bytes:
        """Return nothing."""
        return b""


class _Number:
    """A counter's or gauge's series: a plain number, since one event loop is its only writer."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        self.value += amount

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value


class _Buckets:
    """A histogram's series: one count per bucket, summed up when it is told."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to the bucket below it, as Prometheus has it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class _Family:
    """All series of one metric."""

    def __init__(self, kind: str, name: str, text: str, labels: tuple[str, ...]) -> None:
        self.kind = kind
        self.name = name
        self.text = text
        self.labels = labels
        self.series: dict[tuple[str, ...], _Number | _Buckets] = {}

    def told(self) -> Metric:
        """Return the family as prometheus_client renders it."""
        if self.kind == "histogram":
            histogram = HistogramMetricFamily(self.name, self.text, labels=self.labels)
            for values, series in self.series.items():
                assert isinstance(series, _Buckets)
                bounds = [*map(floatToGoString, series.bounds), "+Inf"]
                buckets = list(zip(bounds, accumulate(series.counts), strict=True))
                histogram.add_metric(values, buckets, series.total)
            return histogram
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = family(self.name, self.text, labels=self.labels)
        for values, series in self.series.items():
            assert isinstance(series, _Number)
            metric.add_metric(values, series.value)
        return metric


class PrometheusMetrics:
    """One registry per process; nothing is global, so two can live in one test.

    prometheus_client renders; counting is our own, because its locks cost 1 µs a number and a
    request counts five. All numbers of one registry are written from one thread.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._families: dict[str, _Family] = {}
        self._collectors: list[Callable[[], None]] = []

    def counter(self, name: str, text: str, /, **labels: str) -> Cell:
        """Return the series of a counter; `name` ends in `_total`."""
        return self._get("counter", name, text, labels, _Number)

    def gauge(self, name: str, text: str, /, **labels: str) -> Cell:
        """Return the series of a gauge."""
        return self._get("gauge", name, text, labels, _Number)

    def histogram(
        self, name: str, text: str, buckets: Sequence[float], /, **labels: str
    ) -> Observer:
        """Return the series of a histogram with these upper bounds."""
        return self._get("histogram", name, text, labels, lambda: _Buckets(buckets))

    def _get(
        self, kind: str, name: str, text: str, labels: dict[str, str], new: Callable[[], _S]
    ) -> _S:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = _Family(kind, name, text, tuple(labels))
        values = tuple(labels.values())
        if values not in family.series:
            if len(family.series) >= SERIES_MAX:
                values = tuple("other" for _ in labels)
            family.series.setdefault(values, new())  # type: ignore[arg-type]  # one kind per family
        return family.series[values]  # type: ignore[return-value]

    def collect(self) -> Iterator[Metric]:
        """Yield every family (called by prometheus_client)."""
        for family in self._families.values():
            yield family.told()

    def clear(self, *names: str) -> None:
        """Forget all series of these metrics."""
        for name in names:
            self._families.pop(name, None)

    def before_render(self, collect: Callable[[], None]) -> None:
        """Call `collect` at the begin of each `render`."""
        self._collectors.append(collect)

    def render(self) -> bytes:
        """Return all series in the Prometheus text format."""
        for collect in self._collectors:
            collect()
        return generate_latest(self._registry)
