"""Metrics behind a small interface: counters, gauges, histograms.

The default, `NoMetrics`, does nothing, so code runs unchanged where nobody asks for metrics.
`PrometheusMetrics` keeps one registry per process and prints the Prometheus text format.
Label sets are bounded: past `SERIES_MAX` series of one metric, further label values read "other".
"""

from collections.abc import Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as _Counter
from prometheus_client import Gauge as _Gauge
from prometheus_client import Histogram as _Histogram

SERIES_MAX: Final = 500
# Doubling, from the OpenTelemetry GenAI durations, extended to long answers.
LATENCY_S: Final = tuple(0.005 * 2**n for n in range(18))
# Fine below a second, wide above it: cold starts are part of a first token's time.
FIRST_TOKEN_S: Final = (
    0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
    160.0,
)  # fmt: skip
LOAD_S: Final = tuple(float(2**n) * 0.25 for n in range(14))
TOKENS: Final = tuple(float(4**n) for n in range(11))
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Cell(Protocol):
    """One series of a counter or gauge."""

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""

    def set(self, value: float) -> None:
        """Set a gauge; a counter has no such thing and ignores it."""


class Observer(Protocol):
    """One series of a histogram."""

    def observe(self, value: float) -> None:
        """Count one value."""


class Metrics(Protocol):
    """Where numbers go. Asking for the same series again returns the same one."""

    def counter(self, name: str, text: str, **labels: str) -> Cell:
        """Return the series of a counter; `name` ends in `_total`."""
        ...

    def gauge(self, name: str, text: str, **labels: str) -> Cell:
        """Return the series of a gauge."""
        ...

    def histogram(self, name: str, text: str, buckets: Sequence[float], **labels: str) -> Observer:
        """Return the series of a histogram with these upper bounds."""
        ...

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

    def counter(self, name: str, text: str, **labels: str) -> Cell:
        """Return a series that ignores what it is told."""
        return _NOTHING

    def gauge(self, name: str, text: str, **labels: str) -> Cell:
        """Return a series that ignores what it is told."""
        return _NOTHING

    def histogram(self, name: str, text: str, buckets: Sequence[float], **labels: str) -> Observer:
        """Return a series that ignores what it is told."""
        return _NOTHING

    def render(self) -> bytes:
        """Return nothing."""
        return b""


class PrometheusMetrics:
    """One registry per process; nothing is global, so two can live in one test."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families: dict[str, _Counter | _Gauge | _Histogram] = {}
        self._series: dict[tuple[str, tuple[str, ...]], object] = {}
        self._counts: dict[str, int] = {}

    def counter(self, name: str, text: str, **labels: str) -> Cell:
        """Return the series of a counter; `name` ends in `_total`."""
        return self._get(_Counter, name, text, labels)  # type: ignore[return-value]

    def gauge(self, name: str, text: str, **labels: str) -> Cell:
        """Return the series of a gauge."""
        return self._get(_Gauge, name, text, labels)  # type: ignore[return-value]

    def histogram(self, name: str, text: str, buckets: Sequence[float], **labels: str) -> Observer:
        """Return the series of a histogram with these upper bounds."""
        return self._get(_Histogram, name, text, labels, buckets=tuple(buckets))  # type: ignore[return-value]

    def _get(
        self,
        kind: type[_Counter | _Gauge | _Histogram],
        name: str,
        text: str,
        labels: dict[str, str],
        **options: object,
    ) -> object:
        values = tuple(labels.values())
        known = self._series.get((name, values))
        if known is not None:
            return known
        family = self._families.get(name)
        if family is None:
            family = kind(name, text, tuple(labels), registry=self._registry, **options)  # type: ignore[arg-type]
            self._families[name] = family
        count = self._counts.get(name, 0)
        if count >= SERIES_MAX and labels:
            return family.labels(*("other" for _ in labels))
        self._counts[name] = count + 1
        series = family.labels(*values) if labels else family
        self._series[name, values] = series
        return series

    def render(self) -> bytes:
        """Return all series in the Prometheus text format."""
        return generate_latest(self._registry)
