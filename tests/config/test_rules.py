"""Rules that look at several settings together."""

from typing import Any

import pytest

from helexa.config.cortex import CortexConfig
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import dotted
from helexa.config.rules import FINDINGS_MAX, conflict_between, validate_cortex, validate_neuron
from helexa.protocol.model import ModelConfig


def cortex(**tree: Any) -> CortexConfig:
    return CortexConfig.model_validate({"state_dir": "/x", **tree})


def neuron(**tree: Any) -> NeuronConfig:
    return NeuronConfig.model_validate({"state_dir": "/x", "node_id": "n", **tree})


def in_cortex(**tree: Any) -> dict[str, str]:
    return {dotted(f.path): f.message for f in validate_cortex(cortex(**tree), lambda _: [])}


def in_neuron(**tree: Any) -> dict[str, str]:
    return {dotted(f.path): f.message for f in validate_neuron(neuron(**tree))}


def test_the_defaults_break_no_rule_and_both_roles_fit_on_one_host() -> None:
    assert in_cortex() == {}
    assert in_neuron() == {}
    assert conflict_between(cortex(), neuron()) == []


def test_two_sockets_on_one_port_are_a_conflict() -> None:
    """R0.16: port conflicts give a specific message."""
    told = in_cortex(admin={"socket": "localhost:8080"}, portal={"socket": "127.0.0.1:9040"})
    assert told["admin.socket"].startswith("port conflict: gateway.socket is 127.0.0.1:8080")
    assert told["portal.socket"].startswith("port conflict: control_plane.socket")


def test_two_roles_on_one_host_are_told_of_their_conflicts() -> None:
    """R0.16: port conflicts between two roles."""
    found = conflict_between(cortex(), neuron(api={"socket": "127.0.0.1:9040"}))
    assert [dotted(finding.path) for finding in found] == ["api.socket"]


def test_the_largest_body_fits_into_the_memory_for_all() -> None:
    told = in_cortex(gateway={"body_bytes_max": 4096, "bodies_bytes_max": 4095})
    assert list(told) == ["gateway.bodies_bytes_max"]
    assert in_cortex(gateway={"body_bytes_max": 4096, "bodies_bytes_max": 4096}) == {}


@pytest.mark.parametrize("name", ["gateway", "control_plane", "admin", "portal"])
@pytest.mark.parametrize("socket", [":7000", "0.0.0.0:7000", "10.0.0.1:7000", "box.lan:7000"])
def test_what_other_machines_can_reach_must_be_protected_or_said(name: str, socket: str) -> None:
    told = in_cortex(**{name: {"socket": socket}})
    assert list(told) == [f"{name}.socket"]
    assert f"{name}.allow_open = true" in told[f"{name}.socket"]
    assert in_cortex(**{name: {"socket": socket, "allow_open": True}}) == {}


def test_keys_protect_the_gateway_and_a_token_the_control_plane() -> None:
    assert in_cortex(gateway={"socket": ":80"}, auth={"keys_file": "/k"}) == {}
    assert in_cortex(control_plane={"socket": ":80", "join_token_file": "/t"}) == {}
    assert in_neuron(api={"socket": ":7000"}) != {}


def test_a_certificate_and_its_key_come_together() -> None:
    assert in_cortex(gateway={"tls_key_file": "/k"}) == {
        "gateway.tls_certificate_file": "is needed together with gateway.tls_key_file"
    }
    assert list(in_cortex(control_plane={"tls_certificate_file": "/c"})) == [
        "control_plane.tls_key_file"
    ]


def test_times_that_depend_on_each_other_are_in_order() -> None:
    assert list(in_cortex(control_plane={"suspect_after_s": 3})) == [
        "control_plane.suspect_after_s"
    ]
    assert list(in_cortex(provisioning={"retry_initial_s": 400})) == [
        "provisioning.retry_initial_s"
    ]


def test_names_of_models_are_taken_once() -> None:
    models = [{"id": "a", "aliases": ["b", "a"]}, {"id": "b"}, {"id": "c", "aliases": ["b"]}]
    told = in_cortex(models=models)
    assert set(told) == {"models[0].aliases[1]", "models[1].id", "models[2].aliases[0]"}
    assert told["models[1].id"] == "the name is taken already, by models[0].aliases[0]"


def test_a_model_is_with_another_or_apart_from_it() -> None:
    apart = {"with": ["b"], "apart_from": ["b"]}
    models = [{"id": "a", "placement": apart}, {"id": "b"}]
    assert list(in_cortex(models=models)) == ["models[0].placement.with[0]"]
    models = [
        {"id": "a", "placement": {"with": ["b"]}},
        {"id": "b", "placement": {"apart_from": ["a"]}},
    ]
    assert "leave one of the two out" in in_cortex(models=models)["models[0].placement.with[0]"]


def test_of_thousands_of_unknown_neighbours_a_hundred_are_told() -> None:
    """Each is compared with all names: 25,000,000 comparisons took minutes."""
    models = [{"id": f"m{n}", "placement": {"with": [f"n{n}"]}} for n in range(5000)]
    assert len(in_cortex(models=models)) == FINDINGS_MAX


def test_engines_are_known_by_name_and_say_where_they_get_their_server() -> None:
    told = in_cortex(
        models=[
            {"id": "a", "engine": "lamacpp"},
            {"id": "b", "engine": "openai"},
            {"id": "c", "listen_endpoint": "http://127.0.0.1:1"},
        ]
    )
    assert told["models[0].engine"].endswith("did you mean llamacpp?")
    assert "is missing" in told["models[1].listen_endpoint"]
    assert "starts its own server" in told["models[2].listen_endpoint"]


def test_an_engines_own_rules_are_asked_with_the_model_as_neurons_get_it() -> None:
    asked: list[ModelConfig] = []

    def engine_problems(config: ModelConfig) -> list[str]:
        asked.append(config)
        return ["option 'x' is unknown"]

    made = cortex(models=[{"id": "a", "options": {"x": 1}}])
    found = validate_cortex(made, engine_problems)
    assert [(dotted(f.path), f.message) for f in found] == [
        ("models[0].options", "option 'x' is unknown")
    ]
    assert asked == [ModelConfig(id="a", engine="llamacpp", source="a", options={"x": 1})]


def test_a_default_model_must_be_configured() -> None:
    told = in_cortex(models=[{"id": "chatty"}], default_models={"chat": "chaty", "bulk": "chatty"})
    assert told == {
        "default_models.chat": "no model of this name is configured; did you mean chatty?"
    }


def test_a_neuron_must_know_its_cortex() -> None:
    """R0.16: a missing control endpoint gives a specific message."""
    told = in_neuron(cortex_control_endpoint="")
    assert "control endpoint is missing" in told["cortex_control_endpoint"]


def test_prompts_leave_the_machine_in_the_clear_only_where_that_is_said() -> None:
    url = "ws://10.0.0.1:9040"
    assert "unencrypted" in in_neuron(cortex_control_endpoint=url)["cortex_control_endpoint"]
    assert in_neuron(cortex_control_endpoint=url, allow_cleartext=True) == {}
    assert in_neuron(cortex_control_endpoint="wss://10.0.0.1:9040") == {}
    assert "no path" in in_neuron(cortex_control_endpoint="wss://h/x")["cortex_control_endpoint"]


def test_a_neurons_engines_are_known_and_have_ports() -> None:
    assert "no such engine" in in_neuron(engines={"allowed": ["ollama"]})["engines.allowed[0]"]
    assert "engines.allowed" in in_neuron(engines={"allowed": []})
    assert "engines.port_first" in in_neuron(engines={"port_first": 3000, "port_last": 2000})
    assert "engines get the ports" in in_neuron(api={"socket": "127.0.0.1:21500"})["api.socket"]
