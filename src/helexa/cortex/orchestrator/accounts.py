"""Each neuron's memory and places, and who has which model: kept from plan to plan. Pure.

    accounts.touch(neurons)        these are no longer as they were
    accounts.update(views, now)    look at them again, and at what time alone has changed

What is kept is what would be found by looking at every neuron anew; a plan costs what has changed
since the last one, not what there is. What a plan books on top lasts until the next `update`.
"""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from helexa.cortex.orchestrator.holding import (
    NEVER_S,
    UP,
    holds,
    holds_until_s,
    measured,
    need_on,
    occupies,
    rests,
)
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.snapshot import Instance, NeuronView
from helexa.protocol.ids import ModelId, NeuronId

Index = dict[ModelId, set[NeuronId]]
Key = tuple[int, int, NeuronId]
"""Free bytes, negated; a hash of the name; the name. Sorted, the emptiest neuron comes first."""
_BITS: Final = 64
_FEW: Final = 8
_ABSENT: Final = Instance()


def mixed(name: str) -> int:
    """Return 64 bits that look random and are always the same for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_BITS // 8).digest(), "big")


@dataclass(slots=True)
class _Account:
    """Where one neuron is entered, so that it can be taken out again."""

    mixed: int
    entries: list[tuple[Index, ModelId]] = field(default_factory=list)
    figures: list[tuple[ModelId, int]] = field(default_factory=list)
    digests: list[tuple[ModelId, str]] = field(default_factory=list)
    engines: tuple[str, ...] = ()
    """Those that a model may be placed for; none while nothing may be placed here."""
    key: Key = (0, 0, NeuronId(""))


class Accounts:
    """Who has what, and what follows for the whole fleet."""

    def __init__(self) -> None:
        self.views: Mapping[NeuronId, NeuronView] = {}
        self.booked: dict[NeuronId, int] = {}
        """Bytes that models have or were promised."""
        self.occupied: dict[NeuronId, set[ModelId]] = {}
        """Models that take memory, or are about to."""
        self.having: Index = {}
        """Neurons that have something to say of a model, whatever its state."""
        self.holders: Index = {}
        """Neurons that have a model, are about to, or make room for it."""
        self.promised: Index = {}
        """Neurons that make room for a model."""
        self.ours: Index = {}
        """Neurons on which this cortex has put a model, for good or lent."""
        self.serving: Index = {}
        """Neurons that are connected, stay, and have a model loaded with nothing under way."""
        self.digests: dict[ModelId, dict[str, set[NeuronId]]] = {}
        """Neurons that have a model up with a config."""
        self.draining: set[NeuronId] = set()
        self.needs: dict[ModelId, int] = {}
        """Each model's largest known need in bytes; a model nobody measured is absent."""
        self._accounts: dict[NeuronId, _Account] = {}
        self._figures: dict[ModelId, dict[int, int]] = {}  # measured bytes: by how many neurons
        self._rests_on: Index = {}  # neurons whose bookings rest on what others have measured
        self._until_s: dict[NeuronId, float] = {}  # what time alone changes, and when
        self._touched: set[NeuronId] = set()
        self._orders: dict[str, list[Key]] = {}  # by engine, of those that were asked for
        self._names: list[NeuronId] | None = None

    # ── keeping ───────────────────────────────────────────────────────────────────────────────

    def touch(self, neurons: Iterable[NeuronId]) -> None:
        """Note that neurons changed, came or went."""
        self._touched.update(neurons)

    def update(self, views: Mapping[NeuronId, NeuronView], now: float) -> None:
        """Look again at what was touched, and take back what a plan booked."""
        self.views = views
        stale, self._touched = self._touched, set()
        stale.update([key for key, until_s in self._until_s.items() if until_s <= now])
        if not stale:
            return
        if len(stale) > _FEW + len(self._accounts) // 8:
            self._orders.clear()  # to sort all anew is quicker than to move so many
        shifted: set[ModelId] = set()
        if any((key in views) != (key in self._accounts) for key in stale):
            self._names = None
        hashes = {key: self._take_out(key, shifted) for key in stale}
        for key in stale:
            view = views.get(key)
            if view is not None:
                self._enter(key, view, hashes[key], now, shifted)
        for model_id in shifted:
            if self._settle(model_id):
                stale.update(self._rests_on.get(model_id, ()))
        for key in stale:
            if key in self._accounts:
                self._sum(key, views[key])

    def _take_out(self, neuron_id: NeuronId, shifted: set[ModelId]) -> int:
        """Forget a neuron; models whose largest need may be another now are noted in `shifted`."""
        account = self._accounts.pop(neuron_id, None)
        if account is None:
            return mixed(neuron_id)
        for index, model_id in account.entries:
            _discard(index, model_id, neuron_id)
        for model_id, digest in account.digests:
            _discard(self.digests[model_id], digest, neuron_id)
            if not self.digests[model_id]:
                del self.digests[model_id]
        for model_id, figure in account.figures:
            counts = self._figures[model_id]
            counts[figure] -= 1
            if not counts[figure]:
                del counts[figure]
                shifted.add(model_id)
        for engine in account.engines:
            order = self._orders.get(engine)
            if order is not None:
                _remove(order, account.key)
                if not order:
                    del self._orders[engine]
        self.draining.discard(neuron_id)
        self._until_s.pop(neuron_id, None)
        del self.booked[neuron_id], self.occupied[neuron_id]
        return account.mixed

    def _enter(
        self, neuron_id: NeuronId, view: NeuronView, hashed: int, now: float, shifted: set[ModelId]
    ) -> None:
        account = self._accounts[neuron_id] = _Account(hashed)
        self.occupied[neuron_id] = set()
        for model_id, instance in view.instances.items():
            own = measured(instance)
            if own:
                counts = self._figures.setdefault(model_id, {})
                counts[own] = counts.get(own, 0) + 1
                account.figures.append((model_id, own))
                if own > self.needs.get(model_id, 0):
                    shifted.add(model_id)
            for index in self._indexes_of(account, view, model_id, instance, now):
                self._note(account, index, model_id, neuron_id)
            # Who is away makes room for nobody: it is not known to come back.
            if instance.makes_room_for is not None and view.connected:
                for index in (self.promised, self.holders, self._rests_on):
                    self._note(account, index, instance.makes_room_for, neuron_id)
        if view.draining:
            self.draining.add(neuron_id)
        until_s = holds_until_s(view, now)
        if until_s < NEVER_S:
            self._until_s[neuron_id] = until_s
        if view.state is NeuronState.CONNECTED and not view.cordoned and not view.draining:
            account.engines = view.capabilities.engines

    def _indexes_of(
        self, account: _Account, view: NeuronView, model_id: ModelId, instance: Instance, now: float
    ) -> list[Index]:
        """Return where a model on a neuron is entered; what it occupies is noted on the way."""
        neuron_id, indexes = view.descriptor.id, [self.having]
        if occupies(instance):
            self.occupied[neuron_id].add(model_id)
            if not measured(instance):
                indexes.append(self._rests_on)
        if holds(view, model_id, now):
            indexes.append(self.holders)
            if view.state is NeuronState.CONNECTED and not view.draining and rests(instance):
                indexes.append(self.serving)
            if instance.state in UP:
                digests = self.digests.setdefault(model_id, {})
                digests.setdefault(instance.known_digest, set()).add(neuron_id)
                account.digests.append((model_id, instance.known_digest))
        if instance.owned or instance.lent:
            indexes.append(self.ours)
        return indexes

    @staticmethod
    def _note(account: _Account, index: Index, model_id: ModelId, neuron_id: NeuronId) -> None:
        index.setdefault(model_id, set()).add(neuron_id)
        account.entries.append((index, model_id))

    def _settle(self, model_id: ModelId) -> bool:
        """Work out a model's largest need anew; True if it is another."""
        counts = self._figures.get(model_id)
        if not counts:
            self._figures.pop(model_id, None)
            return self.needs.pop(model_id, None) is not None
        need = max(counts)
        if self.needs.get(model_id) == need:
            return False
        self.needs[model_id] = need
        return True

    def _sum(self, neuron_id: NeuronId, view: NeuronView) -> None:
        """Add up what is booked on a neuron, promises included."""
        total = 0
        occupied = self.occupied[neuron_id]
        promised: dict[ModelId, int] = {}
        for model_id, instance in view.instances.items():
            there = 0
            if model_id in occupied:
                there = need_on(instance, self.needs.get(model_id, 0))
                total += there
            newcomer = instance.makes_room_for
            if newcomer is not None and view.connected:
                # Who is gone already has nothing booked that the newcomer could be promised.
                promised[newcomer] = promised.get(newcomer, 0) + there
        for newcomer, leaving_bytes in promised.items():
            total += self._beyond(view, newcomer, leaving_bytes)
        self._book_bytes(neuron_id, total)

    def _beyond(self, view: NeuronView, model_id: ModelId, leaving_bytes: int) -> int:
        """Return what a model needs beyond what others leave to it."""
        return max(self.need(view, model_id) - leaving_bytes, 0)

    # ── what is there ─────────────────────────────────────────────────────────────────────────

    def names(self) -> list[NeuronId]:
        """Return every neuron, sorted. The list is not the caller's to change."""
        if self._names is None:
            self._names = sorted(self._accounts)
        return self._names

    def passing(self) -> list[NeuronId]:
        """Return the neurons of which time alone changes something soon, sorted."""
        return sorted(self._until_s)

    def need(self, view: NeuronView, model_id: ModelId) -> int:
        """Return what a model needs on a neuron, as far as anybody knows."""
        instance = view.instances.get(model_id, _ABSENT)
        return need_on(instance, self.needs.get(model_id, 0))

    def mixed(self, neuron_id: NeuronId) -> int:
        """Return the hash of a neuron's name."""
        return self._accounts[neuron_id].mixed

    def key(self, neuron_id: NeuronId) -> Key:
        """Return by what a neuron is sorted among those with free memory."""
        return self._accounts[neuron_id].key

    def emptiest(self, engine: str, salt: int) -> Iterator[NeuronId]:
        """Yield the neurons that a model may be placed on, those with most free memory first.

        Among equals those come first whose hash is nearest to `salt` (by exclusive or). Nothing
        may be booked meanwhile.
        """
        order = self._orders.get(engine)
        if order is None:
            found = (a for a in self._accounts.values() if engine in a.engines)
            order = sorted(account.key for account in found)
            if order:
                self._orders[engine] = order
        start = 0
        while start < len(order):
            end = bisect_right(order, order[start][0], start, key=_free)
            yield from _nearest(order, start, end, salt, _BITS - 1)
            start = end

    # ── what a plan books ─────────────────────────────────────────────────────────────────────

    def book(self, view: NeuronView, model_id: ModelId) -> None:
        """Give a model its memory and place on a neuron."""
        neuron_id = view.descriptor.id
        self._touched.add(neuron_id)
        self.occupied[neuron_id].add(model_id)
        self._note(self._accounts[neuron_id], self.holders, model_id, neuron_id)
        self._book_bytes(neuron_id, self.booked[neuron_id] + self.need(view, model_id))

    def reserve(self, view: NeuronView, model_id: ModelId, leaving_bytes: int) -> None:
        """Promise a model the `leaving_bytes` of others, and what it needs beside them."""
        neuron_id = view.descriptor.id
        self._touched.add(neuron_id)
        for index in (self.promised, self.holders):
            self._note(self._accounts[neuron_id], index, model_id, neuron_id)
        beyond = self._beyond(view, model_id, leaving_bytes)
        self._book_bytes(neuron_id, self.booked[neuron_id] + beyond)

    def leave(self, view: NeuronView, model_id: ModelId) -> int:
        """Hold a model no more; its memory stays booked. Returns its bytes."""
        neuron_id = view.descriptor.id
        self._touched.add(neuron_id)
        for index in (self.holders, self.serving):
            _discard(index, model_id, neuron_id)
        return self.need(view, model_id)

    def _book_bytes(self, neuron_id: NeuronId, total: int) -> None:
        self.booked[neuron_id] = total
        account = self._accounts[neuron_id]
        budget = self.views[neuron_id].capabilities.memory_budget_bytes
        before, account.key = account.key, (total - budget, account.mixed, neuron_id)
        if account.key == before:
            return
        for engine in account.engines:
            order = self._orders.get(engine)
            if order is not None:
                _remove(order, before)
                insort(order, account.key)


def _free(key: Key) -> int:
    return key[0]


def _remove(order: list[Key], key: Key) -> None:
    place = bisect_left(order, key)
    if place < len(order) and order[place] == key:
        del order[place]


def _discard(index: dict, key: object, neuron_id: NeuronId) -> None:  # type: ignore[type-arg]
    found = index.get(key)
    if found is not None:
        found.discard(neuron_id)
        if not found:
            del index[key]


def _nearest(order: list[Key], low: int, high: int, salt: int, bit: int) -> Iterator[NeuronId]:
    """Yield `order[low:high]`, equal in free bytes and all bits above `bit`, the nearest first."""
    if high - low <= _FEW or bit < 0:
        near = sorted(order[low:high], key=lambda key: (key[1] ^ salt, key[2]))
        yield from (neuron_id for _, _, neuron_id in near)
        return
    free, hashed, _ = order[low]
    middle = bisect_left(order, (free, (hashed >> bit | 1) << bit, NeuronId("")), low, high)
    halves = ((low, middle), (middle, high))
    for start, end in reversed(halves) if salt >> bit & 1 else halves:
        yield from _nearest(order, start, end, salt, bit - 1)
