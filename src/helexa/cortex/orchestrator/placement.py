"""Which neuron can hold a model, and why no other. Pure.

A neuron's memory is booked, not measured: its budget less what its models are known to need,
those included that are only about to be loaded. So two loads that are decided in one moment never
get the same bytes. The neuron checks again with what is free at that time, and may refuse.

Order: room without anybody leaving, has the config already (and so most likely the weights), most
free memory; a hash of both names parts equal neurons, so that they share the models out.

`place` asks every neuron, for a person. `places` and `offer` ask those with most free memory until
the order says that no other can be better: what a fleet of any size answers in the same time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from helexa.cortex.orchestrator.accounts import mixed
from helexa.cortex.orchestrator.board import Board, gibibytes
from helexa.cortex.orchestrator.constraints import CONSTRAINTS
from helexa.cortex.orchestrator.holding import need_on
from helexa.cortex.orchestrator.retention import Held, Newcomer, refusal, standing
from helexa.cortex.orchestrator.snapshot import DesiredModel, Instance, NeuronView
from helexa.protocol.ids import ModelId, NeuronId

TOLD_MAX: Final = 8
"""Neurons that one line names; of more, only their number is told."""


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
    unasked: int = 0
    """Neurons that were not asked, because their answer could change nothing."""

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
        told = "; ".join(f"{v.neuron_id}: {v.because}" for v in self.verdicts[:TOLD_MAX])
        others = len(self.verdicts) - TOLD_MAX + self.unasked
        more = f"; and {others} more" if others > 0 else ""
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
    neurons = board.neurons if among is None else among
    verdicts = [_judge(model, n, board, newcomer, ever=ever) for n in neurons]
    best = min((v for v in verdicts if v.fits), key=_rank_for(model, board), default=None)
    return Placement(
        neuron_id=best.neuron_id if best is not None else None,
        verdicts=tuple(verdicts),
        needs_bytes=board.needs.get(model.config.id, 0),
    )


def places(
    model: DesiredModel, board: Board, skip: Callable[[NeuronView], bool], count: int
) -> Iterator[Verdict]:
    """Choose neurons for up to `count` more replicas, the best first; fewer where fewer fit.

    Neurons that `skip` names are left out. The caller books each before it takes the next. What
    fits as it is, is chosen in one go; only where a choice changes what is left (replicas keep
    apart, others make room) the rest is judged anew.
    """
    while count > 0:
        verdicts = _asked(model, board, skip, count, ever=False)
        fitting = sorted((v for v in verdicts if v.fits), key=_rank_for(model, board))
        if not fitting:
            return
        free = [] if model.rules.placement.spread else [v for v in fitting if not v.evicts]
        chosen = free[:count] or fitting[:1]
        yield from chosen
        count -= len(chosen)


def offer(model: DesiredModel, board: Board) -> Placement:
    """Say where one more replica could go, be it that others finish first; or why nowhere.

    The choice is that of `place(model, board, ever=True)`, and so is the time of the next attempt.
    Where nothing fits, those are told who have the model, then those with most free memory.
    """
    verdicts = _asked(model, board, lambda _neuron: False, 1, ever=True)
    best = min((v for v in verdicts if v.fits), key=_rank_for(model, board), default=None)
    if best is None:
        verdicts += _told_besides(model, board, {v.neuron_id for v in verdicts})
        verdicts.sort(key=lambda v: v.neuron_id)
    return Placement(
        neuron_id=best.neuron_id if best is not None else None,
        verdicts=tuple(verdicts),
        needs_bytes=board.needs.get(model.config.id, 0),
        unasked=len(board.accounts.booked) - len(verdicts),
    )


def _told_besides(model: DesiredModel, board: Board, asked: set[NeuronId]) -> list[Verdict]:
    """Return some verdicts for people: of the emptiest neurons, else of any."""
    salt, newcomer = mixed(model.config.id), board.newcomer(model)
    emptiest = (
        n for n in board.emptiest(model.config.engine, salt) if n.descriptor.id not in asked
    )
    found = list(islice(emptiest, TOLD_MAX))
    if len(found) < TOLD_MAX:
        asked = asked | {neuron.descriptor.id for neuron in found}
        others = (key for key in board.accounts.names() if key not in asked)
        found += [board.neuron(key) for key in islice(others, TOLD_MAX - len(found))]
    return [_judge(model, neuron, board, newcomer, ever=True) for neuron in found]


def _asked(
    model: DesiredModel,
    board: Board,
    skip: Callable[[NeuronView], bool],
    count: int,
    *,
    ever: bool,
) -> list[Verdict]:
    """Return verdicts that have the best `count` among them, and those of all who have the model.

    One is enough where replicas keep apart, or others must make room.
    """
    model_id, newcomer = model.config.id, board.newcomer(model)
    may_displace, spread = ever or newcomer.may_displace, model.rules.placement.spread
    having = board.having(model_id)
    verdicts = [_judge(model, n, board, newcomer, ever=ever) for n in having if not skip(n)]
    if model.demanded:
        return verdicts  # it goes only where it is known
    need, left = board.needs.get(model_id, 0), 1 if spread else count
    fits = any(v.fits and not v.evicts for v in verdicts)
    makes_room = False
    for neuron in _candidates(model, board):
        full = need > max(board.free_bytes(neuron), 0)
        if full and (fits or makes_room or not may_displace):
            break
        if need > max(neuron.capabilities.memory_budget_bytes, 0):
            continue  # whoever leaves
        if model_id in neuron.instances or skip(neuron):
            continue
        verdict = _judge(model, neuron, board, newcomer, ever=ever)
        if not verdict.fits:
            continue
        verdicts.append(verdict)
        if verdict.evicts:
            makes_room = makes_room or verdict.apart
            if full and makes_room:
                break
        else:
            fits = True
            left -= verdict.apart
            if left == 0:
                break
    return verdicts


def _candidates(model: DesiredModel, board: Board) -> Iterator[NeuronView]:
    """Yield who may be given a model it has not, the best first."""
    salt, only = mixed(model.config.id), model.rules.placement.neurons
    if not only:
        yield from board.emptiest(model.config.engine, salt)
        return
    known = [key for key in only if key in board.accounts.booked]
    known.sort(key=lambda key: _order(board, key, salt))
    yield from map(board.neuron, known)


def _order(board: Board, neuron_id: NeuronId, salt: int) -> tuple[int, int, NeuronId]:
    taken_bytes, hashed, name = board.key(neuron_id)
    return taken_bytes, hashed ^ salt, name


Rank = tuple[tuple[bool, bool, bool, int], int, NeuronId]


def _rank_for(model: DesiredModel, board: Board) -> Callable[[Verdict], Rank]:
    """Return what fitting neurons are sorted by: the smallest is best."""
    salt = mixed(model.config.id)
    return lambda v: (v.rank, board.key(v.neuron_id)[1] ^ salt, v.neuron_id)


def _judge(
    model: DesiredModel,
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
    known = instance.known_digest == model.digest
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
