"""What a new spec would change, told before it does."""

from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.plan import Change, changes_json, plan
from helexa.cortex.orchestrator.rules import (
    ModelRules,
    PlacementRules,
    Priority,
    ProvisioningPolicy,
)
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, fleet, joined, model, register, status

A = ModelId("a")
NOW = DesiredChanged(models=(model("a", aliases=("x",)),), policy=ProvisioningPolicy())


def snapshot() -> FleetSnapshot:
    state = fleet(model("a"))
    state.apply([joined(1, register("n1", status(model("a"))))], 0.0)
    return state.snapshot(0.0)


def changed(*models: object, **fields: object) -> list[Change]:
    rules = {A: ModelRules(**fields)} if fields else {}  # type: ignore[arg-type]
    wanted = DesiredChanged(models, rules=rules, policy=ProvisioningPolicy())  # type: ignore[arg-type]
    return plan(NOW, wanted, snapshot(), 0.0)


def test_the_same_again_changes_nothing() -> None:
    assert plan(NOW, NOW, snapshot(), 0.0) == []


def test_a_new_model_says_where_it_would_go_or_why_nowhere() -> None:
    (added,) = changed(model("a", aliases=("x",)), model("b"))
    assert (added.action, added.subject, added.effect) == ("add", "b", "is loaded on n1")
    (nowhere,) = changed(model("a", aliases=("x",)), model("c", engine="vllm"))
    assert "does not allow engine vllm" in nowhere.effect


def test_a_new_model_on_demand_waits_for_somebody_to_ask() -> None:
    wanted = DesiredChanged(
        (*NOW.models, model("b")), rules={ModelId("b"): ModelRules(min_replicas=0)}
    )
    (added,) = plan(NOW, wanted, snapshot(), 0.0)
    assert added.effect == "is loaded when somebody asks for it"


def test_a_removed_model_says_where_it_runs() -> None:
    (removed,) = changed()
    assert (removed.action, removed.effect) == ("remove", "is unloaded from n1")


def test_a_changed_config_counts_at_the_next_load_and_an_alias_at_once() -> None:
    options, aliases = changed(model("a", options={"rate": 2}))
    assert (options.field, options.before, options.after) == ("options", {}, {"rate": 2})
    assert "it runs on n1 as it is" in options.effect
    assert (aliases.field, aliases.effect) == ("aliases", "counts at once")


def test_changed_rules_are_told_one_by_one_as_files_write_them() -> None:
    same = model("a", aliases=("x",))
    place = PlacementRules(beside=frozenset({ModelId("b")}), labels=(("gpu", "l4"),))
    told = changed(same, min_replicas=2, max_replicas=None, priority=Priority.HIGH, placement=place)
    by_field = {change.field: change for change in told}
    assert by_field["max_replicas"].after is None
    assert (by_field["priority"].before, by_field["priority"].after) == ("normal", "high")
    assert by_field["placement.with"].after == ["b"]
    assert by_field["placement.labels"].after == {"gpu": "l4"}
    assert "no neuron" in by_field["min_replicas"].effect or by_field["min_replicas"].effect


def test_changed_knobs_are_told() -> None:
    wanted = DesiredChanged(NOW.models, policy=ProvisioningPolicy(cooldown_s=9.0))
    (change,) = plan(NOW, wanted, snapshot(), 0.0)
    assert (change.subject, change.field, change.before, change.after) == (
        "policy", "cooldown_s", 300.0, 9.0,
    )  # fmt: skip
    (told,) = changes_json([change])
    assert told["effect"] == "counts at once"


def test_a_model_that_displaces_another_says_so() -> None:
    on_demand = ModelRules(min_replicas=0)
    state = fleet(model("a"), rules=on_demand)
    known = status(model("b"), ModelState.UNLOADED)
    state.apply([joined(1, register("n1", status(model("a")), known, budget_bytes=GIB))], 0.0)
    rules = {A: on_demand, ModelId("b"): ModelRules(guaranteed=True)}
    current = DesiredChanged((model("a"),), rules=rules)
    wanted = DesiredChanged((model("a"), model("b")), rules=rules)
    (change,) = plan(current, wanted, state.snapshot(0.0), 100.0)
    assert change.effect == "is loaded on n1 in place of a"
