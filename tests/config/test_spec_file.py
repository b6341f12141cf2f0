"""The spec file: what is read, what is refused and where, and who wins."""

import re
from pathlib import Path

import pytest

from helexa.cli.engines import engine_problems
from helexa.config.cortex import (
    CortexConfig,
    ModelEntry,
    PlacementSettings,
    PolicySettings,
    ProvisioningSettings,
)
from helexa.config.fields import settings_of
from helexa.config.layers import ADVISED_MAX
from helexa.config.spec_file import read_spec, spec_problems, with_spec

WHOLE = """{
  "$schema": "spec.schema.json",
  "models": [
    {"id": "chat", "engine": "echo", "aliases": ["gpt"], "min_replicas": 1, "max_replicas": 4,
     "weight": 2.5, "priority": "high", "keep_alive_s": null, "pinned": true,
     "placement": {"neurons": ["n1"], "labels": {"gpu": "l4"}, "with": ["embed"],
                   "apart_from": [], "spread": true}},
    {"id": "embed", "engine": "echo", "max_replicas": null}
  ],
  "policy": {"models_per_neuron_max": 3, "scale_up_after_s": 5, "cooldown_s": 60,
             "target_utilisation": 0.7, "hold_max_s": 15}
}"""


def test_everything_that_can_be_said_is_read() -> None:
    """R6.3, R6.4, R6.5, R6.6."""
    read = read_spec(WHOLE, "spec.json")
    assert read.spec is not None
    chat, embed = read.spec.models
    assert (chat.min_replicas, chat.max_replicas, chat.weight) == (1, 4, 2.5)
    assert (chat.priority, chat.pinned, chat.keep_alive_s) == ("high", True, None)
    assert "keep_alive_s" in chat.model_fields_set
    assert chat.placement.beside == ("embed",)
    assert chat.placement.labels == {"gpu": "l4"}
    assert embed.max_replicas is None
    assert read.spec.policy.models_per_neuron_max == 3
    assert spec_problems(read, engine_problems) == []
    assert read.where(("models", 0, "placement", "with")) == "spec.json:6"


@pytest.mark.parametrize(("text", "told"), [
    ('{\n "models": [\n}', "spec.json:3: is not JSON: Expecting value (column 1)"),
    ("[]", "spec.json:1: must be a JSON object"),
    ('{"models": [\n{"id": "\\udc00"}]}',
     "spec.json:2: \\udc00 stands for no character by itself, only with its other half"),
    ('{"x": [\n' + "[" * 600 + "]" * 601 + ', "y": 1}',
     "spec.json:2: x: has values nested more than 32 levels deep"),
    ('{"models": [\n{"id": "a", "min_replicas": 3,\n "max_replicas": 2}]}',
     "spec.json:3: models[0].max_replicas = 2: must not be less than min_replicas (3)"),
    ('{"models": [\n\n{"id": "a", "wieght": 1}]}',
     "spec.json:3: models[0].wieght: unknown setting; did you mean weight?"),
    ('{"models": [{"id": "a", "placement":\n {"whit": []}}]}',
     "spec.json:2: models[0].placement.whit: unknown setting; did you mean with?"),
    ('{"models": [{"id": "a", "placement":\n {"with": [3]}}]}',
     "spec.json:2: models[0].placement.with[0] = 3: must be a valid string"),
    ('{"policy": {"target_utilisation": 1.5}}',
     "spec.json:1: policy.target_utilisation = 1.5: must be less than or equal to 1"),
    ('{"models": [{"id": "a", "priority": "urgent"}]}',
     "spec.json:1: models[0].priority = \"urgent\": must be 'low', 'normal' or 'high'"),
    ('{"models": [],\n "models": []}', 'spec.json:2: models: "models" is there twice'),
])  # fmt: skip
def test_what_is_wrong_is_told_with_its_path_and_line(text: str, told: str) -> None:
    """R6.2, R6.5, R6.7."""
    read = read_spec(text, "spec.json")
    assert [str(problem) for problem in read.problems] == [told]
    assert read.spec is None


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = '{"polcy": {},\n"models": [{"id": "a", "weight": 0},\n{"id": "b", "pinned": 3}]}'
    read = read_spec(text, "s")
    assert [p.where for p in read.problems] == ["s:1", "s:2", "s:3"]


def test_names_are_unique_and_engines_are_known() -> None:
    text = (
        '{"models": [{"id": "a", "engine": "echo"},\n{"id": "b", "engine": "x", "aliases": ["a"]}]}'
    )
    problems = spec_problems(read_spec(text, "s"), engine_problems)
    assert [p.where for p in problems] == ["s:2", "s:2"]
    assert "the name is taken already, by models[0].id" in problems[0].message
    assert "no such engine" in problems[1].message


def test_the_config_wins_over_the_spec_model_by_model_and_knob_by_knob() -> None:
    """R6.17."""
    config = CortexConfig(
        state_dir=Path("state"),
        models=(ModelEntry(id="chat", engine="echo", weight=9.0),),
        provisioning=ProvisioningSettings(cooldown_s=7.0),
    )
    spec = read_spec(WHOLE, "s").spec
    assert spec is not None
    both = with_spec(config, spec)
    assert [(m.id, m.weight) for m in both.models] == [("chat", 9.0), ("embed", 1.0)]
    assert both.models[0].max_replicas == 4, "the config says nothing of it"
    assert both.provisioning.cooldown_s == 7.0
    assert both.provisioning.hold_max_s == 15.0
    assert both.provisioning.idle_min_s == 2.0, "nobody set it"
    assert with_spec(config, read_spec("{}", "s").spec or spec).models == config.models


ROOT = Path(__file__).parents[2]


def test_the_page_about_the_spec_is_right_and_names_every_field() -> None:
    """R6.16, R6.17: what the spec is for, what is learned, and who wins."""
    page = (ROOT / "docs" / "spec.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    read = read_spec(example, "docs/spec.md")
    assert [str(problem) for problem in spec_problems(read, engine_problems)] == []
    for heading in ("## What the spec is for, and what is learned", "## Who wins"):
        assert heading in page
    fields = {s.path[-1] for s in settings_of(PlacementSettings)}
    fields |= {s.path[-1] for s in settings_of(PolicySettings)}
    fields |= {"min_replicas", "max_replicas", "weight", "priority", "keep_alive_s", "pinned"}
    assert not {name for name in fields if f'"{name}":' not in example}


def test_the_example_is_a_right_spec() -> None:
    text = (ROOT / "examples" / "spec.json").read_text()
    assert spec_problems(read_spec(text, "examples/spec.json"), engine_problems) == []


@pytest.mark.parametrize("told", ["\\ud83e\\udd84", "\\\\ud83e", "\\\\\\ud83e\\udd84"])
def test_whole_characters_and_backslashes_are_read_as_they_are(told: str) -> None:
    spec = read_spec(f'{{"models": [{{"id": "a", "source": "{told}"}}]}}', "spec.json").spec
    assert spec is not None


def test_a_name_that_ends_like_a_place_is_only_a_name() -> None:
    assert str(read_spec('{"x": 1, "y": 2}', "of:monday").problems[0]).startswith("of:monday:1: x")
    assert str(read_spec('{"x": ' + "9" * 5000 + "}", "a:b").problems[0]).startswith("a:b: is not")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("shape", ["{%s}", '{"models": [{"id": "a", %s}]}'])
def test_a_spec_full_of_unknown_settings_is_refused_soon(shape: str) -> None:
    """One of a megabyte held up all of cortex for minutes, until its neurons were lost."""
    text = shape % ", ".join(f'"prioritx{number}": 1' for number in range(40_000))
    problems = read_spec(text, "spec.json").problems
    assert len(problems) == 40_000
    advised = [problem for problem in problems if "did you mean" in problem.message]
    assert len(advised) <= ADVISED_MAX
