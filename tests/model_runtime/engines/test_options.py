import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.catalogue import ENGINES
from helexa.model_runtime.engines.options import Options, option_problems, option_values
from helexa.model_runtime.interfaces import OptionSpec
from helexa.protocol.model import ModelConfig

SPECS = (
    OptionSpec(name="threads", kind="int", text="", minimum=1, maximum=64, default=2),
    OptionSpec(name="ratio", kind="float", text="", minimum=0.1, maximum=0.9),
    OptionSpec(name="eager", kind="bool", text=""),
    OptionSpec(name="pooling", kind="str", text="", choices=("mean", "cls")),
    OptionSpec(name="name", kind="str", text="", pattern=r"[a-z -]{1,8}"),
)


def problem(**options) -> str:
    problems = option_problems(SPECS, options)
    return problems[0] if problems else ""


def test_an_unknown_option_is_answered_with_the_closest_name():
    assert problem(thread=1) == "option 'thread' is unknown; did you mean 'threads'?"
    assert "allowed: eager, name, pooling, ratio, threads" in problem(zzzz=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"threads": "2"}, "must be a whole number"),
        ({"threads": True}, "must be a whole number"),
        ({"threads": 1.5}, "must be a whole number"),
        ({"threads": 0}, "allowed: 1 to 64"),
        ({"threads": 65}, "allowed: 1 to 64"),
        ({"ratio": math.nan}, "allowed: 0.1 to 0.9"),
        ({"ratio": math.inf}, "allowed: 0.1 to 0.9"),
        ({"eager": 1}, "must be true or false"),
        ({"pooling": "men"}, "did you mean 'mean'?"),
        ({"name": "--tools"}, "must not start with '-'"),
        ({"name": "a\nb"}, "control characters"),
        ({"name": "a\0b"}, "control characters"),
        ({"name": "ABC"}, "must match"),
        ({"name": "a" * 600}, "at most 512"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_what_is(options, told):
    assert told in problem(**options)


def test_a_whole_number_is_a_float_too():
    assert problem(ratio=0.5, threads=64, eager=False, pooling="cls", name="a b") == ""
    assert Options((SPECS[1],), config(ratio=0.5)).number("ratio") == 0.5


def config(**options) -> ModelConfig:
    return ModelConfig(id="m", engine="x", options=options)


def test_every_problem_is_told_at_once():
    assert len(option_problems(SPECS, {"threads": 0, "pooling": "x", "nope": 1})) == 3


def test_values_have_their_defaults_and_bad_ones_raise():
    assert option_values(SPECS, {"eager": True})["threads"] == 2
    with pytest.raises(ValueError, match="unknown"):
        option_values(SPECS, {"nope": 1})


def test_options_are_read_by_type():
    options = Options(SPECS, config(eager=True, ratio=0.5))
    assert options.integer("threads") == 2
    assert options.number("ratio") == 0.5
    assert options.flag("eager") is True
    assert options.text("pooling") is None
    assert options.value("eager") is True
    assert options.known_flag("eager") is True
    assert options.known_flag("pooling") is None


@given(st.text(max_size=40))
def test_no_engine_takes_a_text_that_could_be_read_as_an_argument(value):
    """S01: a value never starts with '-' and never holds a control character."""
    for engine in ENGINES.values():
        for spec in engine.options:
            if spec.kind == "str" and not option_problems((spec,), {spec.name: value}):
                assert not value.startswith("-")
                assert value.isprintable()


def test_every_engine_option_is_bounded():
    for engine in ENGINES.values():
        for spec in engine.options:
            assert spec.text, spec.name
            if spec.kind == "str":
                assert spec.choices or spec.pattern, spec.name
            elif spec.kind != "bool":
                assert spec.minimum is not None, spec.name
                assert spec.maximum is not None, spec.name
