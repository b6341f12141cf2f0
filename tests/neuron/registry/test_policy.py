"""The neuron's own rules: what a cortex may not ask for."""

import pytest

from helexa.neuron.registry.policy import ALIASES_MAX, OPTIONS_MAX, Policy
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelConfig
from tests.fakes.engines import AttachedEngine, TinyEngine

ENGINES = {"tiny": TinyEngine(), "attached": AttachedEngine()}
POLICY = Policy(ENGINES, ("/srv/models",), ("https://api.example.com/v1",))


def rule_for(policy: Policy = POLICY, **fields) -> str | None:
    fields = {"id": ModelId("m"), "engine": "tiny", **fields}
    found = policy.violation(ModelConfig(**fields))
    return found.rule if found else None


def test_an_engine_that_is_not_allowed_is_refused_by_rule_1():
    found = POLICY.violation(ModelConfig(id=ModelId("m"), engine="sh"))
    assert found.rule == "R1"
    assert "'sh'" in found.because
    assert "attached, tiny" in found.because


def test_options_are_judged_by_the_engine_s_description():
    assert rule_for(options={"seats": 2}) is None
    assert rule_for(options={"--tools": "all"}) == "R2"


def test_a_description_with_a_bug_refuses_and_does_not_end_the_neuron():
    assert rule_for(options={"boom": 1}) == "R2"


def test_floods_of_options_and_aliases_are_refused():
    assert rule_for(options={f"o{n}": 1 for n in range(OPTIONS_MAX + 1)}) == "R2"
    assert rule_for(aliases=tuple(f"a{n}" for n in range(ALIASES_MAX + 1))) == "R2"


@pytest.mark.parametrize("name", ["", "../m", "a b", "m\n", "x" * 200])
def test_odd_names_are_refused(name):
    assert rule_for(id=ModelId(name)) == "R2"
    assert rule_for(aliases=(name,)) == "R2"


@pytest.mark.parametrize(
    "source",
    ["smollm2-135m", "m.gguf", "./folder", "sub/m.gguf", "/srv/models/m.gguf", "hf:o/r/f.gguf",
     "pypi:p==1#f"],
)  # fmt: skip
def test_sources_inside_the_model_folders_are_allowed(source):
    assert rule_for(source=source) is None


@pytest.mark.parametrize(
    "source",
    ["../m.gguf", "a/../../m.gguf", "/etc/passwd", "/srv/models-evil/m.gguf", "/srv/models/../x",
     "~/m.gguf", "--model", "file:///etc/passwd", "http://h/m.gguf", "a\0b", "a\nb", "x" * 2000,
     "a\\..\\b"],
)  # fmt: skip
def test_sources_outside_the_model_folders_are_refused_by_rule_5(source):
    assert rule_for(source=source) == "R5"


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:11434", "http://localhost:1/v1", "http://[::1]:9", "https://api.example.com/v1",
     "https://API.example.com:443/v1/sub"],
)  # fmt: skip
def test_allowed_servers_may_be_attached_to(endpoint):
    assert rule_for(engine="attached", listen_endpoint=endpoint) is None


@pytest.mark.parametrize(
    "endpoint",
    ["http://169.254.169.254/latest", "https://api.example.com", "https://api.example.com/v1evil",
     "http://api.example.com/v1", "https://api.example.com:8443/v1", "https://evil.example.com/v1",
     "https://api.example.com/v1/../admin", "https://u@api.example.com/v1",
     "https://api.example.com/v1?x=1", "https://127.0.0.1.evil.com", "file:///etc/passwd",
     "http://127.0.0.1:99999", "unix:/run/x.sock", "", "http://127.0.0.1\\@evil.com",
     "http://127.0.0.1 .evil.com"],
)  # fmt: skip
def test_other_servers_are_refused_by_rule_7(endpoint):
    """S03: a cortex cannot make the neuron call whom it likes."""
    assert rule_for(engine="attached", listen_endpoint=endpoint) == "R7"


def test_every_server_is_allowed_only_where_the_neuron_says_so():
    anything = Policy(ENGINES, attach_any=True)
    endpoint = "https://elsewhere.example.org"
    assert rule_for(anything, engine="attached", listen_endpoint=endpoint) is None
    assert rule_for(engine="attached", listen_endpoint=endpoint) == "R7"
    assert rule_for(anything, engine="attached", listen_endpoint="ftp://x") == "R7"


def test_a_spawned_engine_chooses_its_own_endpoint():
    assert rule_for(listen_endpoint="http://127.0.0.1:1") == "R7"
