"""Where a request says the form of its answer: each place is looked at (S23, S24)."""

import json
from typing import Any

import pytest

from helexa.protocol.dialects import openai, structure
from helexa.protocol.errors import Refusal
from helexa.protocol.workload import Operation

BOMB = {"type": "array", "maxItems": 10**9}
SMALL = {"type": "object", "properties": {"city": {"type": "string"}}}
PROMPTS: dict[Operation, dict[str, Any]] = {
    Operation.CHAT: {"messages": [{"role": "user", "content": "x"}]},
    Operation.COMPLETION: {"prompt": "x"},
}


def read(operation: Operation = Operation.CHAT, **fields: Any) -> openai.RequestHead | Refusal:
    return openai.read(operation, json.dumps({"model": "m"} | PROMPTS[operation] | fields).encode())


def named(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "p", "schema": schema}}


@pytest.mark.parametrize("operation", PROMPTS)
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"response_format": named(BOMB)}, "response_format.json_schema.schema.maxItems"),
        (
            {"response_format": {"type": "json_object", "schema": BOMB}},
            "response_format.schema.max",
        ),
        ({"json_schema": BOMB}, "json_schema.maxItems"),
        ({"json_schema": json.dumps(BOMB)}, "json_schema.maxItems"),
        ({"json_schema": "{"}, "json_schema"),
        ({"json_schema": {"description": "x" * 70_000}}, "json_schema"),
        ({"response_format": {"type": "structural_tag"}}, "response_format.type"),
        ({"response_format": {"type": ["text"]}}, "response_format.type"),
        ({"grammar": 'root ::= (("a"+)+)+'}, "grammar"),
        ({"guided_regex": "a*"}, "guided_regex"),
        ({"structured_outputs": {"regex": "a*"}}, "structured_outputs"),
    ],
)
def test_a_bomb_is_refused_wherever_it_stands(
    operation: Operation, fields: dict[str, Any], path: str
) -> None:
    refusal = read(operation, **fields)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.param) == (400, path.split(".", maxsplit=1)[0])
    assert refusal.because.startswith(path)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tools": [{"function": {"parameters": BOMB}}]}, "tools[0].function.parameters.maxItems"),
        ({"functions": [{}, {"parameters": BOMB}]}, "functions[1].parameters.maxItems"),
        (
            {"tools": [{"function": {"description": "x" * 9000, "parameters": BOMB}}]},
            "tools[0].function.parameters.maxItems",
        ),
        ({"tools": [{"function": {"description": "x" * 70_000}}]}, "tools[0].function"),
    ],
)
def test_tools_have_schemas_too(fields: dict[str, Any], path: str) -> None:
    for _ in range(2):  # the second time by what is remembered
        refusal = read(**fields)
        assert isinstance(refusal, Refusal)
        assert refusal.param == path.split("[", maxsplit=1)[0]
        assert refusal.because.startswith(path)


def test_many_tools_are_judged_in_bounded_time() -> None:
    large = {f"p{n}": {"pattern": "^" + "a" * 200 + "$"} for n in range(24)}
    tools = [
        {"function": {"name": f"f{n}", "parameters": {"properties": large}}} for n in range(20)
    ]
    assert isinstance(read(tools=tools[:3]), openai.RequestHead)
    refusal = read(tools=tools)
    assert isinstance(refusal, Refusal)
    assert "too large together" in refusal.because


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": named(SMALL)},
        {"response_format": {"type": "json_schema", "json_schema": None}},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_object"}},
        {"json_schema": SMALL, "grammar": None, "guided_json": {}, "structural_tag": ""},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SMALL}}]},
        {"tools": [{"type": "custom", "custom": {}}, {"function": "odd"}, {"function": None}]},
        {"functions": [{"name": "f"}]},
    ],
)
def test_what_is_sane_passes(fields: dict[str, Any]) -> None:
    assert isinstance(read(**fields), openai.RequestHead)


def test_a_request_without_any_of_it_costs_nothing_more() -> None:
    assert structure.problem_of(openai._chat.decode(b"{}")) is None
