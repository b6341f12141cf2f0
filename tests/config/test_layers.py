"""Layers over each other, and what is wrong with the result."""

from typing import Any

from helexa.config.cortex import CortexConfig
from helexa.config.layers import Layer, check, merge
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import dotted


def layer(name: str, tree: dict[str, Any]) -> Layer:
    return Layer(name, tree, lambda path: f"{name}@{dotted(path)}")


BASE = layer("default", {"state_dir": "/x"})


def test_tables_merge_and_everything_else_replaces() -> None:
    merged = merge(
        [
            layer("one", {"g": {"a": 1, "b": 1}, "list": [1, 2], "t": {"x": 1}}),
            layer("two", {"g": {"b": 2}, "list": [3], "t": 5}),
        ]
    )
    assert merged.tree == {"g": {"a": 1, "b": 2}, "list": [3], "t": 5}
    assert merged.origin(("g", "a")).where == "one@g.a"
    assert merged.origin(("g", "b")).where == "two@g.b"
    assert merged.origin(("list", 0)).where == "two@list[0]"
    assert merged.origin(("list", 1)).where == "two@list"
    assert merged.origin(("nothing",)).layer == "default"


def test_layers_themselves_are_left_as_they_were() -> None:
    tree = {"g": {"a": 1}}
    merge([layer("one", tree), layer("two", {"g": {"a": 2}})])
    assert tree == {"g": {"a": 1}}


def test_every_wrong_value_is_told_with_its_place_and_the_rest_goes_on_with_defaults() -> None:
    """R0.15: every problem found, with the field name, the bad value and what is allowed."""
    config, problems, left_out = check(
        merge(
            [
                BASE,
                layer(
                    "file", {"log": {"level": "loud", "style": "json"}, "admin": {"socket": "x"}}
                ),
                layer("flag", {"shutdown": {"drain_s": "soon"}}),
            ]
        ),
        CortexConfig,
    )
    assert config is not None
    assert (config.log.level, config.log.style) == ("info", "json")
    told = {str(problem) for problem in problems}
    assert (
        "file@log.level: log.level = \"loud\": must be 'debug', 'info', 'warning' or 'error'"
        in told
    )
    assert any(text.startswith('file@admin.socket: admin.socket = "x": ') for text in told)
    assert any(text.startswith('flag@shutdown.drain_s: shutdown.drain_s = "soon"') for text in told)
    assert left_out == {("log", "level"), ("admin", "socket"), ("shutdown", "drain_s")}


def messages(tree: dict[str, Any], model: Any = CortexConfig, other: Any = NeuronConfig) -> Any:
    config, problems, _ = check(merge([BASE, layer("file", tree)]), model, [other])
    assert config is not None
    return {problem.field: problem.message for problem in problems}


def test_unknown_settings_are_told_with_what_was_meant() -> None:
    told = messages(
        {"gatway": {}, "log": {"lvl": 1}, "gateway_socket": "x", "xyzzy": 1, "node_id": "n",
         "models": [{"id": "a", "alias": []}]}
    )  # fmt: skip
    assert told["gatway"] == "unknown setting; did you mean gateway?"
    assert told["log.lvl"] == "unknown setting; did you mean level?"
    assert told["gateway_socket"] == "unknown setting; did you mean gateway.socket?"
    assert told["xyzzy"].startswith("unknown setting; known here: state_dir, ")
    assert told["node_id"] == "is a setting of neuron, not of this role"
    assert told["models[0].alias"] == "unknown setting; did you mean aliases?"


def test_wrong_shapes_are_told_once_each() -> None:
    told = messages(
        {"gateway": 5, "models": [7, {"engine": "x"}, {"id": "b", "options": {"n": [1]}}]}
    )
    assert told == {
        "gateway": "must be a table",
        "models[0]": "must be a table",
        "models[1].id": "is required and is not set",
        "models[2].options.n": "must be a text, a number, true or false",
    }


def test_a_wrong_node_id_or_server_does_not_hide_other_problems() -> None:
    told = messages(
        {"node_id": "a b", "attach": {"servers": ["ftp://x"]}, "engines": {"port_first": 1}},
        NeuronConfig,
        CortexConfig,
    )
    assert set(told) == {"node_id", "attach.servers[0]", "engines.port_first"}
