"""From what replicas achieved to the seats that they are given: kept from tick to tick. Pure.

`useful_seats` says what is made of it; here it is gathered, joined with engine and machine, and
looked at now and then.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from helexa.cortex.orchestrator.demand import DemandSample, DemandState, hardware_key
from helexa.cortex.orchestrator.snapshot import ModelView, NeuronView
from helexa.cortex.orchestrator.useful_seats import Achieved
from helexa.protocol.ids import ModelId, NeuronId

SETTLED_S: Final = 10.0
"""How often it is decided how many seats are of use."""
ACHIEVED_MAX: Final = 4096
"""What replicas achieved that is kept from one tick to the next."""


class SeatLearner:
    """What replicas achieved since the last tick, and the models whose seats changed by it."""

    def __init__(self) -> None:
        self._settled_s = 0.0
        self._achieved: list[tuple[ModelId, Achieved]] = []
        self._reseated: set[ModelId] = set()

    def note(self, samples: Iterable[DemandSample]) -> None:
        """Take what gateways saw."""
        for sample in samples:
            if len(self._achieved) < ACHIEVED_MAX:
                self._achieved += ((sample.model_id, each) for each in sample.achieved)

    def learn(
        self,
        demand: DemandState,
        models: Mapping[str, ModelView],
        neurons: Mapping[NeuronId, NeuronView],
        least: int,
        now: float,
    ) -> None:
        """Let `demand` learn from it; `least` are the seats that a replica keeps in any case."""
        achieved, self._achieved = self._achieved, []
        for model_id, each in achieved:
            view, neuron = models.get(model_id), neurons.get(each.neuron_id)
            replicas = view.replicas if view is not None else ()
            replica = next((r for r in replicas if r.neuron_id == each.neuron_id), None)
            if view is not None and neuron is not None and replica is not None:
                key = (model_id, view.config.engine, hardware_key(neuron.capabilities.hardware))
                # Those past its engine's seats wait in the neuron's own line.
                at_work = min(each.concurrency, float(replica.capability.seats))
                speed = at_work * each.stream_tokens_per_s
                demand.worked(key, at_work, speed, each.requests)
        if now - self._settled_s >= SETTLED_S:
            self._settled_s = now
            self._reseated |= demand.settle(least=least, now=now)

    def look_again(self, demand: DemandState) -> None:
        """Have all that was learned looked at again: its floor has changed."""
        self._reseated.update(model_id for model_id, _, _ in demand.useful)

    @property
    def has_news(self) -> bool:
        """Tell whether `take` would return any."""
        return bool(self._reseated)

    def take(self) -> set[ModelId]:
        """Return the models whose replicas are given more or fewer seats since the last call."""
        reseated, self._reseated = self._reseated, set()
        return reseated
