"""How good each eligible replica is for a request: seconds lost there, 0 is ideal. Pure.

A scorer is one function with its formula in its docstring; `SCORERS` names them all, and the
settings weigh them. It scores all candidates at once, in their order: one call for the lot keeps
routing cheap. One that knows nothing that tells them apart returns None.
"""

import zlib
from collections.abc import Callable
from operator import mul
from typing import Final

import msgspec

from helexa.cortex.orchestrator.pace import BYTES_PER_TOKEN
from helexa.cortex.orchestrator.prefix import PrefixIndex
from helexa.cortex.orchestrator.requests import Candidate, RoutingRequest

FOREIGN_SHARE: Final = 0.25
"""What work that others sent counts beside our own: its report is up to a heartbeat old, and
counts our own requests that have ended since."""
AFFINITY_LOAD_FREE: Final = 1.0
"""Up to this load nobody is too busy for what it knows: it still has a seat for each request."""
SPEED_ALIKE: Final = 2 / 3
"""Replicas down to this share of the fastest one's speed count as equally fast."""
CACHE_FULL_FROM: Final = 0.8
"""Share of a cache in use from which an engine may have to throw out what it still needs."""
CACHE_FULL_S: Final = 2.0


class Field(msgspec.Struct, gc=False):
    """A request and those who could take it, with what more than one scorer needs."""

    request: RoutingRequest
    candidates: list[Candidate]
    prefixes: PrefixIndex
    loads: list[float]
    """(own in flight + FOREIGN_SHARE * what others sent) / seats."""
    load_max: float
    """Above this load a replica gets no credit for what it knows, so that hot prompts spread."""
    crowded: bool = False
    """Some replica is above that."""
    known: bool = False
    """The prompt tells the candidates apart, by what each was sent before."""
    spilled: bool = False
    """Somebody knew the prompt or the session best, and was too busy."""


Scorer = Callable[[Field], list[float] | None]


def field_of(
    request: RoutingRequest,
    candidates: list[Candidate],
    prefixes: PrefixIndex,
    load_factor: float,
) -> Field:
    """Return what the scorers look at; `load_factor` times the average is the affinity bound."""
    loads = []
    for c in candidates:
        replica, own = c.replica, c.in_flight
        foreign = replica.active_requests + replica.waiting_requests - own
        loads.append((own + FOREIGN_SHARE * foreign if foreign > 0 else own) / c.seats)
    load_max = max(AFFINITY_LOAD_FREE, load_factor * sum(loads) / len(loads))
    return Field(request, candidates, prefixes, loads, load_max, max(loads) > load_max)


def wait(field: Field) -> list[float] | None:
    """Return load * service_s: seconds until a seat would be free, were all of them needed.

    `service_s` is the replica's own average; where it has none yet, that of the others; 1 s where
    nobody has one.
    """
    seconds = [c.pace.service_s for c in field.candidates]
    if 0.0 in seconds:
        known = [each for each in seconds if each]
        if not known:
            return field.loads
        usual_s = sum(known) / len(known)
        seconds = [each or usual_s for each in seconds]
    return list(map(mul, field.loads, seconds))


def prefix(field: Field) -> list[float] | None:
    """Return (best_bytes - own_bytes) * prompt_byte_s, that is / BYTES_PER_TOKEN / tokens_per_s.

    These are the seconds that a replica takes to read what another need not read again. `own_bytes`
    is how much of the prompt it has answered before: 0 above `load_max`.
    """
    hashes = field.request.prefix
    held = field.prefixes.holders(hashes) if hashes else None
    if not held:
        return None
    rows = field.candidates
    sizes = [held.get(c.holder, 0) for c in rows]
    best = most = max(sizes)
    if field.crowded:
        bound = field.load_max
        sizes = [n if at <= bound else 0 for n, at in zip(sizes, field.loads, strict=True)]
        best = max(sizes)
        field.spilled = field.spilled or best < most
    if min(sizes) == best:
        return None
    field.known = True
    return [(best - n) * c.pace.prompt_byte_s for n, c in zip(sizes, rows, strict=True)]


def session(field: Field) -> list[float] | None:
    """Return 0 for the session's home and 1 for all others.

    The home is the replica of highest hash(session, neuron) among those below `load_max`: as long
    as it is there and not too busy, it stays the same, whatever comes and goes beside it. Silent
    where the prompt tells more: the home is a guess who knows it, `prefix` is knowledge.
    """
    if field.known or not field.request.session:
        return None
    ranks = ranks_of(field.request.session, field.candidates)
    highest = max(ranks)
    if field.crowded:
        bound = field.load_max
        ranks = [rank if at <= bound else -1 for rank, at in zip(ranks, field.loads, strict=True)]
        field.spilled = field.spilled or max(ranks) < highest
        highest = max(ranks)
    shares = [1.0] * len(ranks)
    shares[ranks.index(highest)] = 0.0
    return shares


def ranks_of(key: str, candidates: list[Candidate]) -> list[int]:
    """Return each candidate's place in the order that belongs to a key (rendezvous hashing)."""
    seed = zlib.crc32(key.encode())
    # The product with an odd number mixes the bits, so that each key has an order of its own.
    return [(c.mark ^ seed) * 0x9E3779B1 & 0xFFFFFFFF for c in candidates]


def cache(field: Field) -> list[float] | None:
    """Return CACHE_FULL_S * max(0, used - CACHE_FULL_FROM) / (1 - CACHE_FULL_FROM).

    `used` is the share of the engine's cache (context tokens times its own seats) that the tokens
    of open requests and of this one take, estimated from their size.
    """
    if not any(c.pace.tokens_open for c in field.candidates):
        return None
    own = field.request.prompt_bytes // BYTES_PER_TOKEN
    shares = []
    for c in field.candidates:
        capability = c.replica.capability
        room = (capability.context_tokens or 0) * (capability.seats or 1)
        used = (c.pace.tokens_open + own) / room if room else 0.0
        shares.append(CACHE_FULL_S * max(0.0, used - CACHE_FULL_FROM) / (1.0 - CACHE_FULL_FROM))
    return shares if any(shares) else None


def speed(field: Field) -> list[float] | None:
    """Return answer_tokens / tokens_per_s - answer_tokens / fastest.

    These are the seconds that an answer of usual length takes longer than on the fastest replica.
    0 from `SPEED_ALIKE` of the fastest on, and where no speed is known.
    """
    speeds = [c.pace.tokens_per_s for c in field.candidates]
    fastest = max(speeds)
    if not fastest:
        return None
    tokens = field.candidates[speeds.index(fastest)].pace.answer_tokens
    least, fastest_s = SPEED_ALIKE * fastest, tokens / fastest
    shares = [tokens / s - fastest_s if 0.0 < s < least else 0.0 for s in speeds]
    return shares if any(shares) else None


SCORERS: Final[dict[str, Scorer]] = {
    "wait": wait,
    "prefix": prefix,
    "session": session,
    "cache": cache,
    "speed": speed,
}
"""By the names that weights have in the settings."""
