"""What a new spec would change, and why. Pure.

    plan(now_wanted, wanted, snapshot, now) -> changes

It compares what is asked for, not what runs; of what runs it tells what would become of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import msgspec

from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.placement import place
from helexa.cortex.orchestrator.rules import DEFAULT_RULES, ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.snapshot import DesiredModel, FleetSnapshot
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig

_UP: Final = frozenset({ModelState.LOADED, ModelState.LOADING})
_HIDDEN: Final = frozenset({"guaranteed", "placement"})
"""Parts of the rules that are shown in other ways."""
PLACES: Final = {"beside": "with"}
"""Names that files use where Python cannot."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would be different."""

    action: str
    """add, change or remove."""
    subject: str
    """A model's id, or `policy`."""
    field: str = ""
    before: Any = None
    after: Any = None
    effect: str = ""
    """What would come of it, and why."""


def plan(
    current: DesiredChanged, wanted: DesiredChanged, snapshot: FleetSnapshot, now: float
) -> list[Change]:
    """Return all that `wanted` would change, models in the order of their ids."""
    before = {config.id: config for config in current.models}
    after = {config.id: config for config in wanted.models}
    board = Board.anew(snapshot.neurons.values(), _desired(wanted), snapshot.outlook, now)
    changes: list[Change] = []
    for model_id in sorted(before.keys() | after.keys()):
        old, new = before.get(model_id), after.get(model_id)
        if new is None:
            changes.append(_removed(model_id, snapshot))
        elif old is None:
            changes.append(_added(board.desired[model_id], board))
        else:
            changes.extend(_config_changes(old, new, snapshot))
            rules = (_rules(current, model_id), _rules(wanted, model_id))
            changes.extend(_rule_changes(model_id, *rules, board))
    changes.extend(_policy_changes(current.policy, wanted.policy))
    return changes


def _desired(wanted: DesiredChanged) -> dict[ModelId, DesiredModel]:
    return {
        config.id: DesiredModel(config, config.digest(), rules=_rules(wanted, config.id))
        for config in wanted.models
    }


def _rules(wanted: DesiredChanged, model_id: ModelId) -> ModelRules:
    return wanted.rules.get(model_id, DEFAULT_RULES)


def _where_it_runs(model_id: ModelId, snapshot: FleetSnapshot) -> list[str]:
    view = snapshot.models.get(model_id)
    return [] if view is None else sorted(n for n, state in view.states.items() if state in _UP)


def _removed(model_id: ModelId, snapshot: FleetSnapshot) -> Change:
    places = _where_it_runs(model_id, snapshot)
    effect = f"is unloaded from {', '.join(places)}" if places else "runs nowhere"
    return Change("remove", model_id, effect=effect)


def _added(model: DesiredModel, board: Board) -> Change:
    if model.rules.floor == 0:
        return Change("add", model.config.id, effect="is loaded when somebody asks for it")
    return Change("add", model.config.id, effect=_outcome(model, board))


def _outcome(model: DesiredModel, board: Board) -> str:
    """Say where the next replica would go."""
    placement = place(model, board, ever=False)
    if placement.neuron_id is None:
        return placement.because()
    if placement.evicts:
        return f"is loaded on {placement.neuron_id} in place of {', '.join(placement.evicts)}"
    return f"is loaded on {placement.neuron_id}"


def _config_changes(
    old: ModelConfig, new: ModelConfig, snapshot: FleetSnapshot
) -> Iterator[Change]:
    before, after = msgspec.structs.asdict(old), msgspec.structs.asdict(new)
    places = _where_it_runs(new.id, snapshot)
    for name in before:
        if before[name] == after[name]:
            continue
        effect = "counts at once"
        if name != "aliases" and places:
            effect = f"counts when it is next loaded; it runs on {', '.join(places)} as it is"
        yield Change("change", new.id, name, before[name], after[name], effect)


def _rule_changes(
    model_id: ModelId, old: ModelRules, new: ModelRules, board: Board
) -> Iterator[Change]:
    for field in fields(ModelRules):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name in _HIDDEN or before == after:
            continue
        effect = ""
        if field.name == "min_replicas":
            missing = new.floor - len(board.holders.get(model_id, ()))
            effect = _outcome(board.desired[model_id], board) if missing > 0 else "is there already"
        shown = (_shown(before), _shown(after))
        yield Change("change", model_id, field.name, *shown, effect)
    yield from _placement_changes(model_id, old, new)


def _placement_changes(model_id: ModelId, old: ModelRules, new: ModelRules) -> Iterator[Change]:
    for field in fields(type(new.placement)):
        before = getattr(old.placement, field.name)
        after = getattr(new.placement, field.name)
        if before != after:
            name = f"placement.{PLACES.get(field.name, field.name)}"
            effect = "counts for what is placed from now on; nothing is moved"
            yield Change("change", model_id, name, _shown(before), _shown(after), effect)


def _policy_changes(
    old: ProvisioningPolicy | None, new: ProvisioningPolicy | None
) -> Iterator[Change]:
    if new is None:
        return
    before_all = old if old is not None else ProvisioningPolicy()
    for field in fields(ProvisioningPolicy):
        before, after = getattr(before_all, field.name), getattr(new, field.name)
        if before != after:
            yield Change("change", "policy", field.name, before, after, "counts at once")


def _shown(value: Any) -> Any:
    """Return a value as a file would have it."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return dict(value)
    name = getattr(value, "name", None)
    return name.lower() if isinstance(name, str) else value


def changes_json(changes: list[Change]) -> list[Mapping[str, Any]]:
    """Return the changes as plain values."""
    return [
        {
            "action": change.action,
            "subject": change.subject,
            "field": change.field or None,
            "before": change.before,
            "after": change.after,
            "effect": change.effect,
        }
        for change in changes
    ]
