"""Schemas that an engine can compile and follow in bounded time, and bombs (S24)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects.schema_guard import judge

TEXT = {"type": "string"}
Schema = dict[str, Any]


def array(items: object, count: int) -> Schema:
    return {"type": "array", "items": items, "maxItems": count}


def fields(*, needed: bool = True, **members: object) -> Schema:
    required = {"required": list(members)} if needed else {}
    return {"type": "object", "properties": members, **required}


def many(count: int) -> Schema:
    return {f"p{n}": TEXT for n in range(count)}


def nested(depth: int) -> Schema:
    found: Schema = TEXT
    for _ in range(depth):
        found = fields(a=found)
    return found


def tree(branches: list[Schema]) -> Schema:
    return {"$defs": {"A": {"anyOf": branches}}, "$ref": "#/$defs/A"}


SELF = {"$ref": "#/$defs/A"}
JSON_VALUE = tree(
    [TEXT, {"type": "number"}, {"type": "null"}, array(SELF, 9), fields(x=SELF, needed=False)]
)
SYNTAX = tree([fields(kind={"const": f"k{n}"}, left=SELF, right=SELF) for n in range(30)])


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"v{n}" for n in range(250)]},
        fields(needed=False, **many(250)),
        fields(**many(1000)),
        {"anyOf": [fields(k={"const": f"v{n}"}) for n in range(250)]},
        {"anyOf": [TEXT] * 250},
        nested(32),
        {"type": "string", "maxLength": 10_000},
        array(array(TEXT, 100), 100),
        {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"},
        {"type": "integer", "minimum": -(10**15), "maximum": 10**15},
        JSON_VALUE,
        SYNTAX,
        fields(value=TEXT, children=array({"$ref": "#"}, 10)),
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/nowhere/at/all"},
        {"maxItems": "many", "pattern": 5, "anyOf": "no", "properties": [], "required": 3},
        True,
        None,
    ],
)
def test_large_but_sane_schemas_pass(schema: object) -> None:
    assert judge(schema, "s")[0] is None


@pytest.mark.parametrize(
    ("schema", "path", "limit"),
    [
        ({"enum": [f"v{n}" for n in range(251)]}, "s:", "250"),
        (fields(needed=False, **many(251)), "s:", "250"),
        (fields(**many(1001)), "s.properties:", "1000"),
        ({"anyOf": [{"enum": list(range(126))}] * 2}, "s:", "250"),
        (fields(a={"oneOf": [TEXT] * 251}), "s.properties.a:", "250"),
        ({"$defs": {"A": {"enum": list(range(126))}}, "anyOf": [SELF, SELF]}, "s:", "250"),
        (tree([array(SELF, 2)] * 8), "s.$ref(#/$defs/A):", "250"),
        (tree([fields(left=SELF)] * 8), "s.$ref(#/$defs/A):", "250"),
        ({"anyOf": [{"pattern": "^" + "[a-z]?" * 6 + "$"}] * 64}, "s:", "250"),
        (nested(33), "s.properties.a.properties", "32"),
        ({"maxLength": 10_001}, "s.maxLength:", "10000"),
        ({"minItems": 1e18}, "s.minItems:", "10000"),
        (array(array(TEXT, 101), 100), "s.items.maxItems:", "10000"),
        (array({"pattern": "^a{1,200}$"}, 100), "s.items.pattern:", "10000"),
        (array({"minProperties": 200}, 100), "s.items.minProperties:", "10000"),
        ({"patternProperties": {"^((a+)+)+$": TEXT}}, "s.patternProperties.", "too many ways"),
        ({"items": [TEXT, {"not": {"maxLength": 1e9}}]}, "s.items[1].not.maxLength:", "10000"),
        ({"prefixItems": [{"pattern": "("}]}, "s.prefixItems[0].pattern:", "`)`"),
        ({"allOf": [{"pattern": "a" * 257}]}, "s.allOf[0].pattern:", "256"),
    ],
)
def test_a_bound_that_is_passed_is_told_with_its_path_and_its_limit(
    schema: Schema, path: str, limit: str
) -> None:
    problem, _ = judge(schema, "s")
    assert problem is not None
    assert problem.startswith(path)
    assert limit in problem


def test_five_times_ten_thousand_is_refused() -> None:
    """S24."""
    bomb: Schema = TEXT
    for _ in range(5):
        bomb = array(bomb, 10_000)
    problem, steps = judge(bomb, "s")
    assert problem is not None
    assert "at most 10000 together" in problem
    assert steps < 10


def test_references_that_multiply_end_with_the_steps() -> None:
    doubling: Schema = {"A0": TEXT}
    for level in range(1, 40):
        doubling[f"A{level}"] = fields(
            a={"$ref": f"#/$defs/A{level - 1}"}, b={"$ref": f"#/$defs/A{level - 1}"}
        )
    _, steps = judge({"$defs": doubling, "$ref": "#/$defs/A39"}, "s")
    assert steps < 200
    problem, steps = judge({"allOf": [{"pattern": "^" + "a" * 250 + "$"}] * 250}, "s")
    assert problem is not None
    assert "too large" in problem
    assert steps < 6000


def test_a_long_path_is_cut() -> None:
    problem, _ = judge(fields(**{"n" * 5000: {"maxLength": 1e9}}), "s")
    assert problem is not None
    assert len(problem) < 400


KEYS = st.sampled_from(["anyOf", "items", "properties", "enum", "$ref", "type", "maxItems", "a"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["#", "#/a", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
)


@given(VALUES)
def test_any_json_is_judged(schema: object) -> None:
    problem, steps = judge(schema, "s")
    assert problem is None or problem.startswith("s")
    assert 0 <= steps < 10_000
