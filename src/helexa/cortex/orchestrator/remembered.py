"""What is learned and set at run time, in the shape in which it outlives a restart. Pure.

The spec says what is wanted, this says what was seen: they are kept apart, joined by model id, and
the spec wins where both speak. Times are ages, since the monotonic clock begins anew.
"""

import msgspec

from helexa.cortex.orchestrator.demand import NO_RATES, DemandState, ModelDemand, Rates
from helexa.cortex.orchestrator.forecast import (
    NEVER,
    Forecaster,
    Levels,
    sound_profile,
)
from helexa.cortex.orchestrator.sizing import Scale
from helexa.cortex.orchestrator.useful_seats import CONCURRENCIES, PROBE_S, Curve, UsefulSeats
from helexa.protocol.ids import ModelId


class RememberedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model's demand, `idle_s` seconds after it was last asked for."""

    model_id: ModelId
    requests: Rates = NO_RATES
    prompt_tokens: Rates = NO_RATES
    completion_tokens: Rates = NO_RATES
    service_s: float = 0.0
    idle_s: float = 0.0
    replicas: int = 0
    """How many there should have been."""
    pinned: bool = False
    set_aside: bool = False
    ahead: bool = False
    """They were there by forecast alone, and nobody had come yet."""
    profile: tuple[Levels, ...] = ()
    """At which hours it was asked for (`forecast.Profile`); empty if never."""
    asked: int = 0
    """Most requests at a time in the hour of writing."""


class RememberedLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How long a load took on one kind of machine."""

    model_id: ModelId
    engine: str
    hardware: str
    load_s: float


class RememberedSeats(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica of a model achieved on one kind of machine, and what was made of it."""

    model_id: ModelId
    engine: str
    hardware: str
    curve: Curve
    limit: int = 0


class DemandMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was learned; `wall_s` is the time of writing (Unix)."""

    wall_s: float = 0.0
    models: tuple[RememberedModel, ...] = ()
    loads: tuple[RememberedLoad, ...] = ()
    seats: tuple[RememberedSeats, ...] = ()
    hour: int | None = None
    """The hour of writing, counted from 1970-01-01 00:00 on cortex's wall."""
    lived_s: float = 0.0
    """How much of that hour was lived through."""


def remembered_model(
    model_id: ModelId,
    demand: ModelDemand,
    now: float,
    *,
    scale: Scale,
    forecast: Forecaster,
    pinned: bool,
    set_aside: bool,
) -> RememberedModel:
    """Return what is kept of one model as of `now`; numbers are rounded, files stay small."""
    later = demand.at(now)
    return RememberedModel(
        model_id=model_id,
        requests=_rounded(later.requests),
        prompt_tokens=_rounded(later.prompt_tokens),
        completion_tokens=_rounded(later.completion_tokens),
        service_s=round(later.service_s, 3),
        idle_s=round(later.idle_s(now), 1),
        replicas=scale.replicas,
        ahead=scale.ahead_since_s is not None,
        pinned=pinned,
        set_aside=set_aside,
        profile=forecast.profiles.get(model_id, ()),
        asked=forecast.asked.get(model_id, 0),
    )


def _rounded(rates: Rates) -> Rates:
    one, ten, hour = (float(f"{rate:.4g}") for rate in rates)
    return one, ten, hour


def restored_demand(memory: DemandMemory, now: float, away_s: float) -> DemandState:
    """Return the state that a memory stands for, `away_s` seconds after it was written.

    The rates have faded meanwhile, as if nobody had asked; requests under way are over.
    """
    state = DemandState()
    for each in memory.models:
        known = ModelDemand(
            at_s=now - away_s,
            requests=each.requests,
            prompt_tokens=each.prompt_tokens,
            completion_tokens=each.completion_tokens,
            service_s=each.service_s,
            last_asked_s=now - away_s - each.idle_s,
        )
        state.models[each.model_id] = known.at(now)
    for load in memory.loads:
        state.load_s[load.model_id, load.engine, load.hardware] = load.load_s
    for kept in memory.seats:
        if _is_whole(kept.curve) and kept.limit in (0, *CONCURRENCIES):
            key = (kept.model_id, kept.engine, kept.hardware)
            state.useful[key] = UsefulSeats(kept.curve, kept.limit, probe_at_s=now + PROBE_S)
    return state


def _is_whole(curve: Curve) -> bool:
    """Tell whether a curve has the steps that curves have now."""
    return len(curve.tokens_per_s) == len(curve.observations) == len(CONCURRENCIES)


def restored_forecast(memory: DemandMemory) -> Forecaster:
    """Return the forecaster that a memory stands for; it knows no date yet."""
    made = Forecaster()
    profiles = {m.model_id: sound_profile(m.profile) for m in memory.models}
    made.restore(
        {key: profile for key, profile in profiles.items() if profile != NEVER},
        {m.model_id: m.asked for m in memory.models if m.asked > 0},
        memory.hour,
        memory.lived_s,
    )
    return made


def learned_of(
    state: DemandState,
) -> tuple[tuple[RememberedLoad, ...], tuple[RememberedSeats, ...]]:
    """Return what is kept of load times and useful seats."""
    loads = tuple(
        RememberedLoad(model_id=model, engine=engine, hardware=hardware, load_s=round(seconds, 2))
        for (model, engine, hardware), seconds in sorted(state.load_s.items())
    )
    seats = tuple(
        RememberedSeats(
            model_id=model, engine=engine, hardware=hardware, curve=known.curve, limit=known.limit
        )
        for (model, engine, hardware), known in sorted(
            state.useful.items(), key=lambda item: item[0]
        )
    )
    return loads, seats
