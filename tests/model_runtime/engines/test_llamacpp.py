import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.aggregate import AggregateTranslation
from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.engines.stream import StreamTranslation
from helexa.model_runtime.engines.whole import WholeTranslation
from helexa.model_runtime.interfaces import Failure
from helexa.protocol.errors import ErrorCode
from helexa.protocol.model import ModelCapability
from helexa.protocol.workload import Operation, Workload
from tests.fakes import llama_stream as ls
from tests.fakes.launches import EMBEDDER, WEIGHTS, config, inbound, launch

ENGINE = LlamaCpp()
BINARY = {"llama-server": "/opt/llama-server"}
PACKAGED = {"xllamacpp_server": "/lib/helexa/xllamacpp_server.py"}


def sent(fields, operation=Operation.CHAT, **changes):
    call = ENGINE.call(inbound(json.dumps(fields).encode(), operation, **changes))
    return call, (None if isinstance(call, Failure) else json.loads(call.body))


def chat(*roles_and_texts, **fields):
    messages = [{"role": role, "content": text} for role, text in roles_and_texts]
    return {"model": "alias", "messages": messages, **fields}


ASK = ("user", "Say hi")


def test_a_llama_server_binary_is_preferred_and_the_packaged_one_runs_isolated():
    both = ENGINE.launch(launch(config(), binaries=BINARY | PACKAGED))
    assert both.argv[0] == "/opt/llama-server"
    assert "--ctx-size" in both.argv
    packaged = ENGINE.launch(launch(config(), binaries=PACKAGED))
    assert packaged.argv[:3] == ("/usr/bin/python3", "-I", "/lib/helexa/xllamacpp_server.py")
    assert packaged.argv[3:] == both.argv[1:]


def test_the_operator_can_choose_the_build():
    chosen = config(options={"server": "packaged"})
    assert ENGINE.launch(launch(chosen, binaries=BINARY | PACKAGED)).argv[1] == "-I"
    missing = config(options={"server": "llama-server"})
    with pytest.raises(ValueError, match="no such binary"):
        ENGINE.launch(launch(missing, binaries=PACKAGED))


def test_without_any_build_the_reason_says_what_to_install():
    with pytest.raises(ValueError, match=r"helexa\[llama\]"):
        ENGINE.launch(launch(config()))


def test_the_server_listens_on_loopback_with_a_key_and_an_empty_environment():
    """S01: LLAMA_ARG_* alone is remote code execution."""
    plan = ENGINE.launch(launch(config(), binaries=PACKAGED))
    assert plan.environment == {}
    assert plan.endpoint == "http://127.0.0.1:18000"
    assert plan.headers == {"authorization": "Bearer k3y"}
    assert "k3y" not in " ".join(plan.argv)
    assert plan.argv[plan.argv.index("--host") + 1] == "127.0.0.1"


FORBIDDEN = (
    *("--ssl", "--log-file", "--slot-save-path", "--media-path", "--models", "--lora", "--mmproj"),
    *("--grammar", "--json-schema", "--hf", "--docker", "--rpc", "--tools", "--mcp", "--agent"),
    *("--cors", "--api-prefix", "--lookup", "--path", "--props", "--chat-template-file"),
    *("--api-key ", "--model-url", "--video", "--ui"),
)


@given(
    st.dictionaries(
        st.sampled_from([spec.name for spec in ENGINE.options] + ["host", "lora", "tools"]),
        st.one_of(st.integers(-10, 10_000), st.booleans(), st.text(max_size=12), st.floats()),
        max_size=6,
    )
)
def test_whatever_the_options_no_forbidden_flag_appears(options):
    """S01: rule R3."""
    model = config(options=options)
    try:
        line = " ".join(ENGINE.launch(launch(model, binaries=BINARY)).argv)
    except ValueError:
        return
    assert not any(flag in line for flag in FORBIDDEN)


def test_problems_are_told_all_at_once():
    model = config(source=None, listen_endpoint="http://x", options={"paralel": 1})
    problems = ENGINE.problems(model)
    assert len(problems) == 3
    assert "did you mean 'parallel'" in problems[0]
    with pytest.raises(ValueError, match="parallel"):
        ENGINE.launch(launch(model))


def test_options_that_exclude_each_other_are_told():
    quantised = config(options={"cache_type_v": "q8_0", "flash_attention": "off"})
    assert "flash attention" in ENGINE.problems(quantised)[0]
    batches = config(options={"batch": 64, "micro_batch": 128})
    assert "at most batch=64" in ENGINE.problems(batches)[0]
    assert ENGINE.problems(config()) == []


def test_it_cannot_start_without_weights_and_cannot_attach():
    with pytest.raises(ValueError, match="weights"):
        ENGINE.launch(launch(config(), weights_path=None, binaries=PACKAGED))
    with pytest.raises(ValueError, match="openai"):
        ENGINE.attach(config())


def test_capability_of_a_text_model():
    found = ENGINE.capability(config(), WEIGHTS)
    assert found.workloads == (Workload.CHAT, Workload.COMPLETION)
    assert (found.context_tokens, found.seats) == (4096, 4)
    assert found.resume
    assert found.json_schema
    assert not found.tools
    assert found.embedding_dimensions is None
    assert ENGINE.capability(config(), None).memory_bytes is None


def test_capability_of_an_embedding_model():
    found = ENGINE.capability(config(), EMBEDDER)
    assert found.workloads == (Workload.EMBEDDINGS,)
    assert found.embedding_dimensions == 384
    assert not found.resume
    both = ENGINE.capability(config(options={"embeddings": True}), WEIGHTS)
    assert both.workloads[-1] is Workload.EMBEDDINGS
    assert both.embedding_dimensions == 576


def test_tools_are_there_only_if_the_models_own_template_knows_them():
    import dataclasses  # noqa: PLC0415

    weights = dataclasses.replace(WEIGHTS, chat_template="{% if tools %}…{% endif %}")
    assert ENGINE.capability(config(), weights).tools
    assert ENGINE.capability(config(options={"chat_template": "zephyr"}), weights).tools is False
    assert ENGINE.capability(config(), WEIGHTS).tools is False
    assert ENGINE.capability(config(), EMBEDDER).tools is False
    assert ENGINE.capability(config(), None).tools is None


def test_the_older_way_to_name_tools_is_refused_because_it_would_be_dropped():
    """Lesson 8."""
    failure = ENGINE.call(inbound(b'{"messages":[],"functions":[{"name":"f"}]}'))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.blames_engine) == (ErrorCode.NOT_SUPPORTED, False)


def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def test_a_tool_that_is_named_is_the_only_one_left_because_the_engine_reads_no_names():
    named = {"type": "function", "function": {"name": "b"}}
    _, body = sent(chat(ASK, tools=[tool("a"), tool("b")], tool_choice=named))
    assert (body["tools"], body["tool_choice"]) == ([tool("b")], "required")
    _, body = sent(chat(ASK, tools=[tool("a"), tool("b")], tool_choice="auto"))
    assert (len(body["tools"]), body["tool_choice"]) == (2, "auto")


@pytest.mark.parametrize(
    "choice", [{"type": "function", "function": {"name": "z"}}, {"function": 5}, {}]
)
def test_a_choice_of_a_tool_that_is_not_there_is_refused(choice):
    failure, _ = sent(chat(ASK, tools=[tool("a")], tool_choice=choice))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.blames_engine) == (ErrorCode.INVALID_REQUEST_BODY, False)
    assert "tool_choice" in failure.message


def test_readiness_is_health_and_one_real_token_or_vector():
    """F5: ready is what answers."""
    probe = ENGINE.probe(config(), ENGINE.capability(config(), WEIGHTS))
    assert (probe.health_path, probe.canary_path) == ("/health", "/v1/chat/completions")
    assert json.loads(probe.canary_body)["max_tokens"] == 1
    vectors = ENGINE.probe(config(), ENGINE.capability(config(), EMBEDDER))
    assert vectors.canary_path == "/v1/embeddings"


@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_is_always_asked_for_a_stream_with_progress(stream):
    """A caller that leaves is noticed by llama.cpp only while it streams."""
    call, body = sent(chat(ASK, stream=stream, max_tokens=9999), stream=stream)
    assert call.path == "/v1/chat/completions"
    assert body["stream"] is True
    assert body["return_progress"] is True
    assert body["max_tokens"] == 4096
    assert body["model"] == "smol"
    assert isinstance(call.translation, StreamTranslation if stream else AggregateTranslation)


def test_fields_that_would_change_the_answers_form_are_taken_out():
    extras = {
        "stream_options": {"include_usage": True}, "timings_per_token": True, "id_slot": 3,
        "return_tokens": True, "n_predict": 99999, "lora": [], "temperature": 0.1,
        "n_probs": 50_000, "n_cmpl": 100, "post_sampling_probs": True,
    }  # fmt: skip
    _, body = sent(chat(ASK, **extras))
    assert set(body) == {
        "model", "messages", "temperature", "max_tokens", "stream", "return_progress"
    }  # fmt: skip


def test_messages_pass_byte_for_byte():
    """Lesson 53: nothing is added to, dropped from or reordered in a prompt."""
    messages = b'[ {"role":"user", "content":"\\u00e9 \xc3\xa9","x":1.0} ]'
    call = ENGINE.call(inbound(b'{"messages":' + messages + b"}"))
    assert messages in call.body


def test_a_short_prefix_asks_for_token_texts_and_a_long_one_does_not():
    _, body = sent(chat(ASK, ("assistant", "I")))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    _, body = sent(chat(ASK, ("assistant", "word " * 100)))
    assert "logprobs" not in body
    _, body = sent(chat(ASK, ("assistant", "I"), logprobs=True, top_logprobs=5))
    assert body["top_logprobs"] == 5
    _, body = sent(chat(ASK))
    assert "logprobs" not in body


def test_a_completion_goes_its_own_way():
    call, body = sent({"prompt": "Once", "logprobs": 2, "n": 2}, Operation.COMPLETION)
    assert call.path == "/v1/completions"
    assert body["prompt"] == "Once"
    assert call.translation._plan.legacy_logprobs
    assert call.translation._plan.choices_per_prompt == 2


@pytest.mark.parametrize("extra", [{"echo": True}, {"suffix": "x"}, {"best_of": 3}])
def test_what_the_engine_would_silently_leave_out_is_refused(extra):
    call, _ = sent({"prompt": "x", **extra}, Operation.COMPLETION)
    assert call.code is ErrorCode.NOT_SUPPORTED
    assert not call.blames_engine
    harmless = {"echo": False, "suffix": None, "best_of": 1}
    assert not isinstance(sent({"prompt": "x", **harmless}, Operation.COMPLETION)[0], Failure)


@pytest.mark.parametrize("body", [b"{bad", b"[]", b'{"max_tokens":"x"}', b'{"n":1.5}'])
def test_a_bad_body_never_reaches_the_engine(body):
    call = ENGINE.call(inbound(body))
    assert isinstance(call, Failure)
    assert not call.blames_engine


def test_embeddings_pass_and_a_wrong_size_is_refused():
    capability = ModelCapability(embedding_dimensions=384)
    call, body = sent(
        {"model": "alias", "input": [[1, 2], [3]], "encoding_format": "base64", "dimensions": 384},
        Operation.EMBEDDINGS,
        capability=capability,
    )
    assert call.path == "/v1/embeddings"
    assert body == {"model": "smol", "input": [[1, 2], [3]], "encoding_format": "base64"}
    assert isinstance(call.translation, WholeTranslation)
    wrong, _ = sent({"input": "x", "dimensions": 7}, Operation.EMBEDDINGS, capability=capability)
    assert "384" in wrong.message


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("tenant", "told"), [("", 24), ("alice", 0)])
def test_a_tenant_is_not_told_what_was_cached_for_whomever(stream, tenant, told):
    """S33: one cache serves all keys of this engine; the neuron's own books are exact."""
    call, _ = sent(chat(ASK), stream=stream, include_usage=True, tenant=tenant)
    out, ending = ls.translate(call.translation, ls.chat("Hi", "🙂"))
    assert ending.usage.cached_tokens == 24
    answers = [json.loads(out)] if not stream else ls.payloads(out)[:-1]
    usage = answers[-1]["usage"]
    assert usage.get("prompt_tokens_details", {}).get("cached_tokens", 0) == told
    assert usage["prompt_tokens"] == 32


def test_the_counts_in_a_tenants_stream_do_not_tell_it_either():
    call, _ = sent(chat(ASK), stream=True, include_usage=True, tenant="alice")
    counted = ls.delta(content="🙂", timings=ls.timings(predicted_n=3))
    call.translation.on_head(200, {})
    assert b": tokens 32 3 0\n\n" in call.translation.on_data(ls.role() + counted)
