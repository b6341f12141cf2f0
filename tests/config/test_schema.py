"""The published JSON schemas."""

import json
from typing import Any

import pytest

from helexa.config.schema import KINDS, json_schema


def walk(node: Any) -> list[dict[str, Any]]:
    found = [node] if isinstance(node, dict) else []
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        found += walk(child)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_json_and_allows_nothing_unknown(kind: str) -> None:
    schema = json_schema(kind)
    assert json.loads(json.dumps(schema)) == schema
    objects = [schema, *schema["$defs"].values()]
    assert all(item["additionalProperties"] is False for item in objects)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_is_enough(kind: str) -> None:
    assert "required" not in json_schema(kind)


def test_defaults_are_told_as_they_are_written_in_a_file() -> None:
    gateway = json_schema("cortex")["$defs"]["GatewaySettings"]["properties"]
    assert gateway["socket"]["default"] == "127.0.0.1:8080"
    neuron = json_schema("neuron")["properties"]
    assert neuron["cortex_control_endpoint"]["default"] == "ws://127.0.0.1:9040"
    assert neuron["hub"]["default"]["endpoint"] == "https://huggingface.co"


def test_every_setting_is_described() -> None:
    for kind in KINDS:
        schema = json_schema(kind)
        for group in [schema, *schema["$defs"].values()]:
            for name, field in group["properties"].items():
                assert "description" in field or "$ref" in field, (kind, name)
