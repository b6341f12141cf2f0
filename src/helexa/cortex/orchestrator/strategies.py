"""Which of the eligible replicas gets a request. Pure; a strategy is a plug-in.

A plug-in is a factory under the entry point group `helexa.routers`; `[routing] strategy` names it.
`strategy_check.problems_of` says what is wrong with one; it is asked at every start.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import add
from types import MappingProxyType
from typing import Final, Protocol

from helexa.cortex.orchestrator.requests import Candidate, Choice, RoutingRequest, Share
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.scorers import SCORERS, Field, field_of
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId, NeuronId

ENTRY_POINTS: Final = "helexa.routers"
MODELS_MAX: Final = 4096
"""Models whose turn is remembered; of more, the one that was first sent to is forgotten."""


def _default_weights() -> Mapping[str, float]:
    return MappingProxyType(
        {"wait": 1.0, "prefix": 1.0, "session": 0.5, "cache": 1.0, "speed": 1.0}
    )


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """What an operator can set about routing; strategies take from it what they know."""

    weights: Mapping[str, float] = field(default_factory=_default_weights)
    """By scorer: what its seconds count. 0 switches one off, and so does not naming it."""
    affinity_load_factor: float = 2.0
    """A replica above this many times the average load gets no credit for what it knows."""


class Strategy(Protocol):
    """Chooses among replicas that have passed every filter.

    `pick` and `shares` change nothing, so that a decision can be explained by deciding again.
    """

    needs_affinity: bool
    """It looks at a request's session and prefix; else nobody takes the trouble to find them."""

    def pick(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> Choice:
        """Return one of the candidates, of which there are at least two. Called per request."""
        ...

    def shares(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> tuple[Share, ...]:
        """Return the scores behind `pick`, for a person to read; empty where there are none."""
        ...

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        """Hear that a request is on its way to a replica; not called where there was no choice."""
        ...


Factory = Callable[[RoutingPolicy], Strategy]


class LeastSeconds:
    """The default: the replica where a request loses the fewest seconds, by all scorers' sum."""

    needs_affinity = True

    def __init__(self, policy: RoutingPolicy) -> None:
        unknown = policy.weights.keys() - SCORERS.keys()
        assert not unknown, f"no scorer is called {sorted(unknown)}"
        self._load_factor = policy.affinity_load_factor
        self._scorers = tuple(
            (name, scorer, policy.weights[name])
            for name, scorer in SCORERS.items()
            if policy.weights.get(name)
        )

    def pick(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> Choice:
        """Return the candidate of lowest sum.

        Among equals, a prompt goes to the one that was sent none for the longest: so conversations
        spread over idle replicas. Then, and for small prompts, a hash of the request id decides.
        """
        view = field_of(request, candidates, memory.prefixes, self._load_factor)
        totals: list[float] = []
        known: dict[str, list[float]] = {}
        for name, scorer, weight in self._scorers:
            values = scorer(view)
            if values is None:
                continue
            known[name] = values
            shares = values if weight == 1.0 else [weight * value for value in values]
            totals = list(map(add, totals, shares)) if totals else shares
        lowest = min(totals, default=0.0)
        best = [place for place, total in enumerate(totals) if total == lowest]
        if len(best) == 1:
            place = best[0]
        else:
            best = best or list(range(len(candidates)))
            if request.prefix:
                turns = [candidates[place].pace.turn for place in best]
                least = min(turns)
                best = [place for place, turn in zip(best, turns, strict=True) if turn == least]
            place = best[zlib.crc32(request.request_id.encode()) % len(best)]
        return Choice(candidates[place], _reason(view, known, place))

    def shares(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> tuple[Share, ...]:
        """Return what each scorer says."""
        view = field_of(request, candidates, memory.prefixes, self._load_factor)
        found = ((name, weight, scorer(view)) for name, scorer, weight in self._scorers)
        return tuple(Share(name, weight, tuple(values)) for name, weight, values in found if values)

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        """Remember nothing: what matters is in the routing memory."""


def _reason(view: Field, known: Mapping[str, list[float]], place: int) -> str:
    """Say what a choice has going for it, the strongest first."""
    for name in ("prefix", "session"):
        values = known.get(name)
        if values is not None and not values[place] and any(values):
            return name
    return "spill" if view.spilled else "least_loaded"


class RoundRobin:
    """Each replica in turn, by the order of the neurons' names; blind to load and prompts."""

    needs_affinity = False

    def __init__(self, _policy: RoutingPolicy) -> None:
        self._last: dict[ModelId, NeuronId] = {}

    def pick(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> Choice:
        """Return the candidate whose name follows that of the last one; after the end the first."""
        last = self._last.get(candidates[0].replica.model_id, NeuronId(""))
        ordered = sorted(candidates, key=lambda c: c.replica.neuron_id)
        after = (c for c in ordered if c.replica.neuron_id > last)
        return Choice(next(after, ordered[0]), "round_robin")

    def shares(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> tuple[Share, ...]:
        """Return nothing: no replica is better than another."""
        return ()

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        """Move on."""
        if replica.model_id not in self._last and len(self._last) >= MODELS_MAX:
            del self._last[next(iter(self._last))]
        self._last[replica.model_id] = replica.neuron_id


BUILT_IN: Final[Mapping[str, Factory]] = MappingProxyType(
    {"default": LeastSeconds, "round_robin": RoundRobin}
)
"""Made and checked like any plug-in, but found without asking the installation for them."""
