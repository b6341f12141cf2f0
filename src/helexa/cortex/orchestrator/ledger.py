"""What changed in the fleet since its last snapshot, so that only that is looked at anew. Pure.

A fleet of a thousand neurons hears two hundred heartbeats a second, and nearly all of them change
nothing but a few numbers. Neurons note here what they change; `fleet` reads it when it makes the
next snapshot. Three weights of change:

- *loads*: a replica's request counts. One number in one model's view.
- *models*: a model's state, config or wait somewhere. That model's view is made anew.
- *plan*: something that placement looks at. Models that nobody serves are looked at again, and
  what should run is reconciled.
"""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Final

import msgspec

from helexa.cortex.orchestrator.snapshot import Instance
from helexa.protocol.ids import ModelId, NeuronId

_rest: Final = attrgetter(*(field.name for field in fields(Instance) if field.name != "status"))


class Ledger:
    """Who has which model, and what is to be looked at again."""

    __slots__ = ("accounts", "demand", "holders", "loads", "models", "neurons", "plan")

    def __init__(self) -> None:
        self.holders: dict[ModelId, set[NeuronId]] = {}
        """Neurons that have an instance of a model, whatever its state."""
        self.neurons: set[NeuronId] = set()
        self.accounts: set[NeuronId] = set()
        """Neurons of which more than numbers changed: their memory and places are added up anew."""
        self.models: set[ModelId] = set()
        self.loads: set[tuple[ModelId, NeuronId]] = set()
        self.plan = False
        self.demand = False
        """There are new figures of demand; whether they ask for a plan, a tick decides."""

    def __bool__(self) -> bool:
        return bool(self.neurons or self.models or self.plan or self.demand)

    def clear(self) -> None:
        """Begin a new page: a snapshot was made. Who holds what stays known."""
        for noted in (self.neurons, self.accounts, self.models, self.loads):
            noted.clear()
        self.plan = self.demand = False

    def wish(self, *, plan: bool) -> None:
        """Note that what is asked for changed, or only the figures of it."""
        self.demand = True
        self.plan = self.plan or plan

    def put(
        self, neuron_id: NeuronId, model_id: ModelId, before: Instance | None, after: Instance
    ) -> None:
        """Note that one model on one neuron changed."""
        self.neurons.add(neuron_id)
        if before is None:
            self.holders.setdefault(model_id, set()).add(neuron_id)
        elif only_numbers_differ(before, after):
            self.loads.add((model_id, neuron_id))
            return
        self.accounts.add(neuron_id)
        self.models.add(model_id)
        self.plan = True

    def turn(self, neuron_id: NeuronId, models: Iterable[ModelId]) -> None:
        """Note that a neuron changed in what its models and their places depend on."""
        self.neurons.add(neuron_id)
        self.accounts.add(neuron_id)
        self.models.update(models)
        self.plan = True

    def drop(self, neuron_id: NeuronId, model_id: ModelId) -> None:
        """Note that a neuron has nothing to say of a model any more."""
        holders = self.holders.get(model_id)
        if holders is not None:
            holders.discard(neuron_id)
            if not holders:
                del self.holders[model_id]
        self.turn(neuron_id, (model_id,))


def only_numbers_differ(before: Instance, after: Instance) -> bool:
    """Tell whether two states of an instance differ in nothing that a plan or a filter looks at.

    What may differ: the counts of requests, and the seconds to the neuron's own next try. Every
    other field counts, those that are added later included.
    """
    old, new = before.status, after.status
    if old is None or new is None:
        return before == after
    same_status = old == msgspec.structs.replace(
        new,
        active_requests=old.active_requests,
        waiting_requests=old.waiting_requests,
        retry_after_s=old.retry_after_s,
    )
    return same_status and _rest(before) == _rest(after)
