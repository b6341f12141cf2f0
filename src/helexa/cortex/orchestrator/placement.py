"""Which neuron can hold a model, and why no other. Pure.

A neuron's memory is booked, not measured: its budget less what its models are known to need,
those included that are only about to be loaded. So two loads that are decided in one moment never
get the same bytes. The neuron checks again with what is free at that time, and may refuse.

Order: room without anybody leaving, has the config already (and so most likely the weights), most
free memory; a hash of both names parts equal neurons, so that they share the models out.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from helexa.cortex.orchestrator.board import Board, gibibytes, need_on
from helexa.cortex.orchestrator.constraints import CONSTRAINTS
from helexa.cortex.orchestrator.retention import Held, Newcomer, refusal, standing
from helexa.cortex.orchestrator.snapshot import DesiredModel, Instance, NeuronView
from helexa.protocol.ids import ModelId, NeuronId


@dataclass(frozen=True, slots=True)
class Verdict:
    """One neuron's answer to "could you hold this model?"."""

    neuron_id: NeuronId
    fits: bool
    because: str
    free_bytes: int
    filter: str = ""
    """The constraint that removed it; empty where it fits."""
    known: bool = False
    """It has the model's config already, and so most likely its weights."""
    not_before_s: float = 0.0
    """It may be asked again at this time; 0 where time alone changes nothing."""
    evicts: tuple[ModelId, ...] = ()
    """It fits once these have left."""
    apart: bool = True
    """No other replica of the model is on the same host or in the same zone."""
    would_help: str = ""
    """Who would have to leave for it to fit, and what keeps them."""

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Return what neurons are sorted by that fit: the smallest is the best."""
        return bool(self.evicts), not self.apart, not self.known, -self.free_bytes


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model goes (None: nowhere), and what each neuron had to say."""

    neuron_id: NeuronId | None
    verdicts: tuple[Verdict, ...]
    needs_bytes: int

    @property
    def evicts(self) -> tuple[ModelId, ...]:
        """Return the models that must leave the chosen neuron first."""
        chosen = (v.evicts for v in self.verdicts if v.neuron_id == self.neuron_id)
        return next(chosen, ())

    @property
    def next_attempt_s(self) -> float | None:
        """Return when waiting may help, or None where it cannot."""
        times = [v.not_before_s for v in self.verdicts if v.not_before_s]
        return min(times) if times else None

    def because(self) -> str:
        """Say in one line, with numbers, why no neuron can hold it."""
        if not self.verdicts:
            return "no neuron is connected"
        told = "; ".join(f"{v.neuron_id}: {v.because}" for v in self.verdicts[:8])
        more = f"; and {len(self.verdicts) - 8} more" if len(self.verdicts) > 8 else ""
        return f"no neuron can take it now{self._in_short()}: {told}{more}"

    def _in_short(self) -> str:
        """Return the need, the best offer and what would help: ` (needs 21.4 GiB; …)`."""
        if not self.needs_bytes:
            return ""
        parts = [f"needs {gibibytes(self.needs_bytes)}"]
        full = [v for v in self.verdicts if v.filter in {"memory", "limit"}]
        best = max(full, key=lambda v: v.free_bytes, default=None)
        if best is not None:
            parts.append(f"best free {gibibytes(max(best.free_bytes, 0))} on {best.neuron_id}")
        helps = next((v.would_help for v in _by_free(full) if v.would_help), "")
        if helps:
            parts.append(helps)
        return f" ({'; '.join(parts)})"


def _by_free(verdicts: list[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda v: -v.free_bytes)


def place(
    model: DesiredModel, board: Board, *, among: Iterable[NeuronView] | None = None, ever: bool
) -> Placement:
    """Choose the neuron for one more replica of a model.

    `among` are the neurons to choose from, all where it is None. With `ever`, models count as
    displaceable that only have to finish what they are at: whether a request may wait for it.
    """
    newcomer = board.newcomer(model)
    digest = model.digest
    neurons = board.neurons if among is None else among
    verdicts = [_judge(model, digest, n, board, newcomer, ever=ever) for n in neurons]
    best = min((v for v in verdicts if v.fits), key=_rank_for(model.config.id), default=None)
    return Placement(
        neuron_id=best.neuron_id if best is not None else None,
        verdicts=tuple(verdicts),
        needs_bytes=board.needs.get(model.config.id, 0),
    )


def places(
    model: DesiredModel, board: Board, among: Iterable[NeuronView], count: int
) -> Iterator[Verdict]:
    """Choose neurons for up to `count` more replicas, the best first; fewer where fewer fit.

    The caller books each before it takes the next. A neuron is judged once for all of them, so
    that forty replicas among a thousand neurons cost one look at each; only where a choice changes
    what is left (replicas keep apart, others make room) the rest is judged anew.
    """
    left, rank = list(among), _rank_for(model.config.id)
    while count > 0:
        newcomer = board.newcomer(model)
        verdicts = [_judge(model, model.digest, n, board, newcomer, ever=False) for n in left]
        fitting = sorted((v for v in verdicts if v.fits), key=rank)
        if not fitting:
            return
        free = [] if model.rules.placement.spread else [v for v in fitting if not v.evicts]
        chosen = free[:count] or fitting[:1]
        yield from chosen
        count -= len(chosen)
        taken = {verdict.neuron_id for verdict in chosen}
        left = [neuron for neuron in left if neuron.descriptor.id not in taken]


Rank = tuple[tuple[bool, bool, bool, int], bytes]


def _rank_for(model_id: ModelId) -> Callable[[Verdict], Rank]:
    """Return what fitting neurons are sorted by: the smallest is best."""
    return lambda v: (v.rank, _mixed(model_id, v.neuron_id))


def _mixed(model_id: ModelId, neuron_id: NeuronId) -> bytes:
    return hashlib.blake2b(f"{model_id}@{neuron_id}".encode(), digest_size=8).digest()


def _judge(
    model: DesiredModel,
    digest: str,
    neuron: NeuronView,
    board: Board,
    newcomer: Newcomer,
    *,
    ever: bool,
) -> Verdict:
    config, neuron_id = model.config, neuron.descriptor.id
    free = board.free_bytes(neuron)
    for name, constraint in CONSTRAINTS:
        because = constraint(model, neuron, board)
        if because:
            return Verdict(neuron_id, fits=False, because=because, free_bytes=free, filter=name)
    instance = neuron.instances.get(config.id, Instance())
    need = need_on(instance, board.needs.get(config.id, 0))
    missing_bytes = need - free if need > max(free, 0) else 0
    limit = board.outlook.policy.models_per_neuron_max
    missing_places = 0 if limit is None else board.count_on(neuron) + 1 - limit
    evicts: tuple[ModelId, ...] = ()
    if missing_bytes > 0 or missing_places > 0:
        held = board.held_on(neuron)
        allowed = [
            h for h in held
            if not (standing(h, newcomer) if ever
                    else refusal(h, newcomer, board.outlook.policy, board.now))
        ]  # fmt: skip
        evicts = _who_leaves(allowed, missing_bytes, missing_places)
        if not evicts:
            budget = gibibytes(neuron.capabilities.memory_budget_bytes)
            because = f"{gibibytes(max(free, 0))} free of {budget}"
            if missing_bytes <= 0:
                because = (
                    f"holds {board.count_on(neuron)} models of {limit} (models_per_neuron_max)"
                )
            return Verdict(
                neuron_id, fits=False, because=because, free_bytes=free,
                filter="memory" if missing_bytes > 0 else "limit",
                would_help=_who_would_help(held, newcomer, board, missing_bytes, missing_places),
            )  # fmt: skip
    if instance.not_before_s > board.now:
        because = instance.because or _failure(instance) or "waits after a failure"
        return Verdict(
            neuron_id, fits=False, because=because, free_bytes=free, filter="backoff",
            not_before_s=instance.not_before_s,
        )  # fmt: skip
    apart = not model.rules.placement.spread or board.is_apart(config.id, neuron)
    known = instance.known_digest == digest
    return Verdict(
        neuron_id, fits=True, because="", free_bytes=free, known=known, evicts=evicts, apart=apart
    )


def _who_leaves(allowed: list[Held], missing_bytes: int, places: int) -> tuple[ModelId, ...]:
    """Return the fewest, in the order of `allowed`, whose leaving is enough; none where it is not.

    What turns out not to be needed beside the others stays.
    """
    chosen: list[Held] = []
    for held in allowed:
        if _enough(chosen, missing_bytes, places):
            break
        chosen.append(held)
    if not _enough(chosen, missing_bytes, places):
        return ()
    for held in list(chosen):
        rest = [h for h in chosen if h is not held]
        if rest and _enough(rest, missing_bytes, places):
            chosen = rest
    return tuple(held.model_id for held in chosen)


def _enough(chosen: list[Held], missing_bytes: int, places: int) -> bool:
    return sum(h.bytes for h in chosen) >= missing_bytes and len(chosen) >= places


def _who_would_help(
    held: list[Held], newcomer: Newcomer, board: Board, missing_bytes: int, places: int
) -> str:
    names = _who_leaves(held, missing_bytes, places)
    told = []
    for each in held:
        if each.model_id in names:
            state = "in use" if each.busy else f"idle {minutes(each.idle_s)}"
            why = standing(each, newcomer)
            told.append(f"{each.model_id}, {state}, left" + (f" (it is {why})" if why else ""))
    return f"would fit if {' and '.join(told)}" if told else ""


def minutes(seconds: float) -> str:
    """Return a time span for people: `14 min`, and seconds below a minute."""
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _failure(instance: Instance) -> str:
    return instance.status.because if instance.status is not None else ""
