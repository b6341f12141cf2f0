"""What is asked of each model, smoothed, and what was learned of engines and machines. Pure.

    DemandState.take(samples, now)    what a gateway saw since its last sample
    DemandState.view(model, now)      what the model's demand looks like now

Rates are exponentially weighted means over three horizons (1 min, 10 min, 1 h). They fade by time
alone: a model that nobody asks for has, an hour later, a third of its hourly rate left.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import msgspec

from helexa.cortex.orchestrator.useful_seats import Achieved, Curve, UsefulSeats
from helexa.protocol.ids import ModelId
from helexa.protocol.neuron import HardwareReport

_K = TypeVar("_K")
_V = TypeVar("_V")
HORIZONS_S: Final = (60.0, 600.0, 3600.0)
CONCURRENCY_HORIZON_S: Final = 20.0
"""Long enough that one burst adds no replica, short enough to see a rush within half a minute."""
LEARN_WEIGHT: Final = 0.2
"""Share of the newest observation in what is learned: about ten of them make it new."""
LEARNED_MAX: Final = 4096
"""Learned values kept; the ones that were used least recently go first."""
MODELS_MAX: Final = 4096


class DemandSample(msgspec.Struct, frozen=True, gc=False):
    """What one gateway saw of one model since its last sample; the last two are as of now."""

    model_id: ModelId
    arrivals: int = 0
    finished: int = 0
    """Requests that a replica has answered, well or not."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    service_s: float = 0.0
    """Time that the finished requests spent on their replicas, together."""
    in_flight: int = 0
    waiting: int = 0
    """Requests that have no replica yet."""
    achieved: tuple[Achieved, ...] = ()
    """How fast the finished requests were written, beside how many others."""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was asked and nothing is under way."""
        return not (self.arrivals or self.finished or self.in_flight or self.waiting)


Rates = tuple[float, float, float]
"""Per second, over the last minute, ten minutes and hour."""
NO_RATES: Final[Rates] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ModelDemand:
    """What is asked of one model, as of `at_s` (monotonic)."""

    at_s: float = 0.0
    requests: Rates = NO_RATES
    prompt_tokens: Rates = NO_RATES
    completion_tokens: Rates = NO_RATES
    service_s: float = 0.0
    """Mean time of a request on a replica; 0 while unknown."""
    concurrency: float = 0.0
    """Requests under way or waiting at the same time, smoothed over CONCURRENCY_HORIZON_S."""
    in_flight: int = 0
    waiting: int = 0
    last_asked_s: float = 0.0
    """When it was last asked for or in use; when it was first heard of, if never."""
    waiting_since_s: float | None = None
    """Since when somebody waits for it without a pause."""

    @property
    def busy(self) -> bool:
        """Tell whether requests are under way or wait."""
        return self.in_flight > 0 or self.waiting > 0

    def idle_s(self, now: float) -> float:
        """Return for how long nobody has asked for it."""
        return 0.0 if self.busy else max(now - self.last_asked_s, 0.0)

    def expected(self) -> float:
        """Return the concurrency to plan for: Little's law, or what is there if that is more."""
        return max(self.requests[0] * self.service_s, self.concurrency)

    def level(self) -> int:
        """Return the requests at a time (Little's law) as the forecast counts them, at least 1.

        A burst of some seconds is no reason for more replicas tomorrow, and what is left of an hour
        ago does not belong to this one: so it is the lower of the rates of one and ten minutes.
        """
        return max(math.ceil(min(self.requests[0], self.requests[1]) * self.service_s), 1)

    def at(self, now: float) -> "ModelDemand":
        """Return it as of a later moment at which nothing new was asked."""
        span_s = max(now - self.at_s, 0.0)
        if span_s == 0.0:
            return self
        return replace(
            self,
            at_s=now,
            requests=_later(self.requests, span_s),
            prompt_tokens=_later(self.prompt_tokens, span_s),
            completion_tokens=_later(self.completion_tokens, span_s),
            concurrency=_mean(
                self.concurrency, self.in_flight + self.waiting, span_s, CONCURRENCY_HORIZON_S
            ),
        )

    def with_sample(self, sample: DemandSample, now: float) -> "ModelDemand":
        """Return it with one more sample, which is about the time since the last one."""
        span_s = max(now - self.at_s, 1e-3)
        service_s = self.service_s
        if sample.finished:
            newest_s = sample.service_s / sample.finished
            share = 1.0 - (1.0 - LEARN_WEIGHT) ** min(sample.finished, 50)
            service_s = newest_s if service_s == 0.0 else service_s + share * (newest_s - service_s)
        waiting_since_s = self.waiting_since_s if sample.waiting else None
        if sample.waiting and waiting_since_s is None:
            waiting_since_s = now
        under_way = sample.in_flight + sample.waiting
        return ModelDemand(
            at_s=now,
            requests=_counted(self.requests, sample.arrivals, span_s),
            prompt_tokens=_counted(self.prompt_tokens, sample.prompt_tokens, span_s),
            completion_tokens=_counted(self.completion_tokens, sample.completion_tokens, span_s),
            service_s=service_s,
            concurrency=_mean(self.concurrency, under_way, span_s, CONCURRENCY_HORIZON_S),
            in_flight=sample.in_flight,
            waiting=sample.waiting,
            last_asked_s=self.last_asked_s if sample.is_empty else now,
            waiting_since_s=waiting_since_s,
        )


def _mean(before: float, value: float, span_s: float, horizon_s: float) -> float:
    kept = math.exp(-span_s / horizon_s)
    return before * kept + value * (1.0 - kept)


def _counted(rates: Rates, count: int, span_s: float) -> Rates:
    one, ten, hour = (
        _mean(rate, count / span_s, span_s, horizon_s)
        for rate, horizon_s in zip(rates, HORIZONS_S, strict=True)
    )
    return one, ten, hour


def _later(rates: Rates, span_s: float) -> Rates:
    return _counted(rates, 0, span_s)


def hardware_key(hardware: HardwareReport) -> str:
    """Return a name for machines of one kind: `2x NVIDIA L4`, or `cpu x86_64 8`."""
    if hardware.devices:
        names = sorted({device.name for device in hardware.devices})
        return f"{len(hardware.devices)}x {' + '.join(names)}"[:128]
    return f"cpu {hardware.arch or 'unknown'} {hardware.cpu_count}"


LoadKey = tuple[ModelId, str, str]
"""Model, engine, hardware."""


@dataclass(slots=True)
class DemandState:
    """Everything that is smoothed and learned; the fleet's one writer holds it."""

    models: dict[ModelId, ModelDemand] = field(default_factory=dict)
    load_s: dict[LoadKey, float] = field(default_factory=dict)
    useful: dict[LoadKey, UsefulSeats] = field(default_factory=dict)

    def of(self, model_id: ModelId, now: float) -> ModelDemand:
        """Return a model's demand as of now; of one never heard of, it begins now."""
        known = self.models.get(model_id)
        if known is None:
            known = ModelDemand(at_s=now, last_asked_s=now)
            if len(self.models) < MODELS_MAX:
                self.models[model_id] = known
        return known.at(now)

    def take(self, samples: Iterable[DemandSample], now: float) -> None:
        """Take what gateways saw; a model that no sample names has nothing under way."""
        named = set()
        for sample in samples:
            named.add(sample.model_id)
            self.of(sample.model_id, now)
            if sample.model_id in self.models:
                known = self.models[sample.model_id]
                self.models[sample.model_id] = known.with_sample(sample, now)
        for model_id, known in self.models.items():
            if model_id not in named and known.busy:
                self.models[model_id] = known.with_sample(DemandSample(model_id), now)

    def asked(self, model_id: ModelId, now: float) -> None:
        """Note that somebody asks for a model, before any sample can tell."""
        known = self.of(model_id, now)
        if model_id in self.models:
            self.models[model_id] = replace(known, last_asked_s=now)

    def loaded(self, key: LoadKey, seconds: float) -> None:
        """Learn how long a load took."""
        before = self.load_s.get(key)
        known = seconds if before is None else (before + seconds) / 2
        self.load_s = _with(self.load_s, key, known)

    def worked(
        self, key: LoadKey, concurrency: float, tokens_per_s: float, requests: int = 1
    ) -> None:
        """Learn what one replica achieved at some concurrency."""
        before = self.useful.get(key) or UsefulSeats(Curve())
        curve = before.curve.with_sample(concurrency, tokens_per_s, requests)
        self.useful = _with(self.useful, key, replace(before, curve=curve))

    def settle(self, *, least: int, now: float) -> set[ModelId]:
        """Decide how many seats are of use where; return the models for which that changed."""
        changed: set[ModelId] = set()
        for key, before in self.useful.items():
            model = self.models.get(key[0])
            waited_for = model is not None and model.waiting > 0
            after = before.settled(least=least, waited_for=waited_for, now=now)
            if after is not before:
                self.useful = _with(self.useful, key, after)
                changed.add(key[0])
        return changed

    def retain(self, wanted: Iterable[ModelId], now: float) -> None:
        """Forget models that are neither wanted nor were asked for in the last horizon."""
        kept = set(wanted)
        old_s = now - HORIZONS_S[-1] * 24
        for model_id in [k for k, d in self.models.items() if k not in kept]:
            if self.models[model_id].last_asked_s < old_s:
                del self.models[model_id]


def _with(table: dict[_K, _V], key: _K, value: _V) -> dict[_K, _V]:
    """Return a table with one more entry; snapshots keep the old one."""
    made = {known: other for known, other in table.items() if known != key}
    made[key] = value
    if len(made) > LEARNED_MAX:
        del made[next(iter(made))]
    return made


@dataclass(frozen=True, slots=True)
class Learned:
    """What a snapshot carries of the learned: load times and useful seats."""

    load_s: Mapping[LoadKey, float] = field(default_factory=dict)
    useful: Mapping[LoadKey, UsefulSeats] = field(default_factory=dict)

    def load_time_s(self, model_id: ModelId, engine: str, hardware: str) -> float | None:
        """Return how long a load takes; that of other machines where this one never did it."""
        exact = self.load_s.get((model_id, engine, hardware))
        if exact is not None:
            return exact
        others = [s for (known, _, _), s in self.load_s.items() if known == model_id]
        return max(others) if others else None

    def seats(self, key: LoadKey, reported: int, least: int) -> int:
        """Return how many requests a replica is given: as reported, or fewer if that was learned,
        but not fewer than `least`."""
        known = self.useful.get(key)
        return known.seats(reported, least) if known is not None else reported
