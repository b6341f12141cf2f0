import json

import pytest

from helexa.model_runtime.engines.openai import OpenAi, with_model
from helexa.model_runtime.engines.passthrough import PassThrough
from helexa.model_runtime.interfaces import Failure
from helexa.protocol.workload import Operation, Workload
from tests.fakes.launches import config, inbound, launch

ENGINE = OpenAi()
LOCAL = "http://127.0.0.1:11434"


def model(endpoint=LOCAL, **options):
    return config(engine="openai", source=None, listen_endpoint=endpoint, options=options)


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        (LOCAL, LOCAL),
        (LOCAL + "/", LOCAL),
        (LOCAL + "/v1", LOCAL),
        (LOCAL + "/v1/", LOCAL),
        ("https://api.example.org/openai/v1", "https://api.example.org/openai"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_it_attaches_with_or_without_v1(endpoint, base):
    """Lesson 37: no trailing slash, or `//v1` is not found."""
    assert ENGINE.problems(model(endpoint)) == []
    assert ENGINE.attach(model(endpoint)).endpoint == base


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://x", "file:///etc/passwd", "127.0.0.1:80", "http://", "http://u:p@host", "",
        "http://x/?a=1", "http://x/#a", "http://x:99999", "http://x:0", "http://x y",
        "http://x\n", "http://" + "x" * 600, None,
    ],
)  # fmt: skip
def test_an_endpoint_that_is_none_is_told(endpoint):
    assert ENGINE.problems(model(endpoint))
    with pytest.raises(ValueError, match="listen_endpoint"):
        ENGINE.attach(model(endpoint))


def test_a_key_comes_from_a_file_that_the_config_names():
    plan = ENGINE.attach(model(api_key_file="hosted.key"))
    assert plan.key_file == "hosted.key"
    assert (plan.key_header, plan.key_prefix) == ("authorization", "Bearer ")
    assert ENGINE.attach(model()).key_file is None
    assert "api_key_file" in ENGINE.problems(model("http://user:key@host"))[0]


def test_it_starts_nothing():
    assert not ENGINE.spawns
    with pytest.raises(ValueError, match="starts none"):
        ENGINE.launch(launch(model()))


def test_weights_and_no_workloads_are_problems():
    assert ENGINE.problems(config(engine="openai", listen_endpoint=LOCAL))
    assert ENGINE.problems(model(chat=False, completions=False))


def test_the_body_passes_byte_for_byte():
    body = b'{ "messages": [ {"role":"user","content":"\\u00e9"} ],\n "model":"smol", "x":1e2 }'
    call = ENGINE.call(inbound(body, config=model(), stream=True))
    assert call.body == body
    assert call.path == "/v1/chat/completions"
    assert isinstance(call.translation, PassThrough)


@pytest.mark.parametrize(
    ("body", "out"),
    [
        (b'{"model":"alias", "a": 1.50}', b'{"model":"real/x", "a": 1.50}'),
        (b'{"model" : "al\\"ias"}', b'{"model" : "real/x"}'),
        (b'{"model":"real/x"}', b'{"model":"real/x"}'),
        (b'{"a":1}', b'{"a":1,"model":"real/x"}'),
        (b'{"model":null,"a":1}', b'{"model":"real/x","a":1}'),
        (b'{"x":{"model":"in"},"a":2}', b'{"x":{"model":"in"},"a":2,"model":"real/x"}'),
        (b'{"x":{"model":"in"},"model":"alias"}', b'{"x":{"model":"in"},"model":"real/x"}'),
    ],
)
def test_only_the_top_level_model_is_replaced(body, out):
    assert with_model(body, "real/x") == out


def test_the_word_model_in_a_message_is_left_alone():
    body = json.dumps({"messages": [{"content": '"model":"x"'}], "model": "alias"}).encode()
    assert json.loads(with_model(body, "real")) == {
        "messages": [{"content": '"model":"x"'}],
        "model": "real",
    }


def test_an_alias_becomes_the_id_and_upstream_model_beats_it():
    """Lesson 40."""
    body = b'{"model":"nick","input":"x"}'
    call = ENGINE.call(inbound(body, Operation.EMBEDDINGS, config=model()))
    assert json.loads(call.body)["model"] == "smol"
    assert call.path == "/v1/embeddings"
    upstream = model(upstream_model="llama3:8b")
    call = ENGINE.call(inbound(body, Operation.EMBEDDINGS, config=upstream))
    assert json.loads(call.body)["model"] == "llama3:8b"


def test_the_path_before_the_routes_can_be_another():
    google = model("https://host/v1beta/openai", api_path="")
    assert ENGINE.attach(google).endpoint == "https://host/v1beta/openai"
    assert ENGINE.call(inbound(b"{}", config=google)).path == "/chat/completions"
    assert ENGINE.probe(google, ENGINE.capability(google, None)).canary_path == "/chat/completions"


def test_usage_is_asked_for_only_if_the_operator_wants_it():
    body = b'{"model":"smol","stream":true}'
    counted = model(ask_usage=True)
    asked = json.loads(ENGINE.call(inbound(body, config=counted, stream=True)).body)
    assert asked["stream_options"] == {"include_usage": True}
    assert ENGINE.call(inbound(body, config=counted, stream=False)).body == body
    given = inbound(body, config=counted, stream=True, include_usage=True)
    assert ENGINE.call(given).body == body


def test_a_server_that_only_answers_chats_is_probed_by_a_chat():
    probe = ENGINE.probe(model(upstream_model="up"), ENGINE.capability(model(), None))
    assert probe.health_path is None
    assert probe.canary_path == "/v1/chat/completions"
    assert json.loads(probe.canary_body)["model"] == "up"
    vectors = model(chat=False, completions=False, embeddings=True)
    probe = ENGINE.probe(vectors, ENGINE.capability(vectors, None))
    assert probe.canary_path == "/v1/embeddings"


def test_capability_is_what_the_config_says():
    found = ENGINE.capability(
        model(embeddings=True, embedding_dimensions=3, tools=True, vision=True, parallel=5), None
    )
    assert set(found.workloads) == set(Workload)
    assert (found.seats, found.embedding_dimensions, found.memory_bytes) == (5, 3, None)
    assert found.tools
    assert found.json_schema is None
    assert ENGINE.capability(model(tools=False), None).tools is False
    assert not found.resume


def test_a_body_that_is_no_json_is_refused():
    assert isinstance(ENGINE.call(inbound(b"{", config=model())), Failure)
