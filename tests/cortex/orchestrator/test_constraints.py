"""What keeps a model off a neuron: the funnel, rule by rule."""

from dataclasses import replace

import pytest

from helexa.cortex.orchestrator.constraints import CONSTRAINTS
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.cortex.orchestrator.snapshot import DesiredModel, NeuronView
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB
from tests.fakes.views import board, desired, instance, neuron, placed_by

OTHER = instance(ModelState.LOADED, GIB)


def removed_by(
    view: NeuronView,
    wanted: DesiredModel,
    *others: NeuronView,
    models: tuple[DesiredModel, ...] = (),
) -> tuple[str, str]:
    """Return the first constraint that speaks, and what it says."""
    at = board(view, *others, models=(wanted, *models))
    for name, constraint in CONSTRAINTS:
        because = constraint(wanted, view, at)
        if because:
            return name, because
    return "", ""


@pytest.mark.parametrize(("view", "rules", "name", "because"), [
    (neuron("n"), ModelRules(), "", ""),
    (neuron("n", state=NeuronState.GONE), ModelRules(), "state", "is gone"),
    (neuron("n", cordoned=True), ModelRules(), "cordon", "is cordoned"),
    (neuron("n", cordoned=True, draining=True), ModelRules(), "cordon", "is draining"),
    (neuron("n", engines=("vllm",)), ModelRules(), "engine", "allows vllm"),
    (neuron("n"), placed_by(neurons=frozenset({NeuronId("x")})), "neurons", "not one of x"),
    (neuron("n"), placed_by(neurons=frozenset({NeuronId("n")})), "", ""),
    (neuron("n", labels={"gpu": "l4"}), placed_by(labels=(("gpu", "l4"),)), "", ""),
    (neuron("n", labels={"gpu": "l4"}), placed_by(labels=(("gpu", "h100"),)), "labels", "gpu=h100"),
    (neuron("n", other=OTHER), placed_by(apart_from=frozenset({ModelId("other")})),
     "apart_from", "has other"),
    (neuron("n"), placed_by(apart_from=frozenset({ModelId("other")})), "", ""),
    (neuron("n", other=OTHER), placed_by(beside=frozenset({ModelId("other")})), "", ""),
])  # fmt: skip
def test_each_rule_says_why_not(
    view: NeuronView, rules: ModelRules, name: str, because: str
) -> None:
    found, said = removed_by(view, desired("m", rules))
    assert found == name
    assert because in said


def test_what_no_config_names_is_loaded_only_where_it_is_known() -> None:
    wanted = replace(desired("m"), demanded=True)
    assert removed_by(neuron("n"), wanted)[0] == "known"
    knows = neuron("n", m=instance(ModelState.UNLOADED, GIB))
    assert removed_by(knows, wanted) == ("", "")


def test_with_binds_to_where_the_other_runs_and_to_nothing_where_it_runs_nowhere() -> None:
    wanted = desired("m", placed_by(beside=frozenset({ModelId("other")})))
    assert removed_by(neuron("n"), wanted)[0] == ""
    elsewhere = neuron("n2", other=OTHER)
    assert removed_by(neuron("n"), wanted, elsewhere)[0] == "with"


def test_apart_from_binds_both_sides() -> None:
    shy = desired("other", placed_by(apart_from=frozenset({ModelId("m")})))
    name, because = removed_by(neuron("n", other=OTHER), desired("m"), models=(shy,))
    assert (name, because) == ("apart_from", "has other, which must be apart from it")
