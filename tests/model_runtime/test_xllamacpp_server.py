import json
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.engines.llamacpp_options import Settings, arguments
from helexa.model_runtime.interfaces import WeightsSummary
from helexa.model_runtime.xllamacpp_server import main, parameters, parse
from helexa.protocol.errors import ErrorCode
from helexa.protocol.model import ModelConfig
from helexa.protocol.workload import Operation
from tests.fakes.engine_process import running
from tests.fakes.launches import EMBEDDER, WEIGHTS, config, launch
from tests.fakes.llama_stream import DONE, payloads, said
from tests.fakes.runnable_model import WIDTH, write_runnable_model
from tests.fakes.waiting import until_blocking

ASK = [{"role": "user", "content": "Say hi"}]
SUMMARY = WeightsSummary(
    architecture="llama",
    weights_bytes=300_000,
    context_tokens_trained=4096,
    kv_bytes_per_token_f16=256,
    embedding_dimensions=WIDTH,
    layers=2,
    is_embedder=False,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llamacpp")
    weights = write_runnable_model(folder / "runnable.gguf")
    options = {"context_tokens": 512, "parallel": 2, "embeddings": True, "cache_ram_mib": 0}
    model = ModelConfig(id="tiny", engine="llamacpp", source="x", options=options)
    with running(LlamaCpp(), model, folder, weights_path=weights, weights=SUMMARY) as process:
        yield process


def test_every_argument_of_the_description_is_understood():
    for weights in (WEIGHTS, EMBEDDER):
        for options in ({}, {"seed": 7, "pooling": "cls", "chat_template": "zephyr"}):
            model = config(options=options)
            argv = arguments(launch(model), Settings(model, weights))
            parsed = parse(list(argv))
            assert parsed.alias == "smol"
            assert not parsed.kv_unified
            assert parsed.slot_prompt_similarity == 0.8
            assert parsed.no_webui
            assert parsed.offline


@pytest.mark.parametrize("extra", [["--tools", "all"], ["--host", "0.0.0.0"], ["--mod", "x"]])
def test_other_arguments_are_refused(extra):
    with pytest.raises(SystemExit):
        parse(["--model", "m", "--alias", "a", "--port", "1", *extra])


def test_arguments_become_the_librarys_parameters(tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    line = ["--model", "m.gguf", "--alias", "a", "--port", "1", "--ctx-size", "192"]
    line += ["--no-kv-unified", "--parallel", "3", "--cache-type-k", "q8_0", "--flash-attn", "on"]
    line += ["--pooling", "mean", "--seed", "9", "--no-jinja", "--no-webui"]
    import xllamacpp  # noqa: PLC0415

    params = parameters(parse([*line, "--api-key-file", str(key)]), xllamacpp)
    assert (params.n_ctx, params.n_parallel, params.kv_unified) == (192, 3, False)
    assert params.api_keys == ["s3cret"]
    assert params.cache_type_k == xllamacpp.ggml_type.GGML_TYPE_Q8_0
    assert params.sampling.seed == 9
    assert not params.use_jinja
    assert not params.ui


def test_a_number_format_that_the_build_lacks_is_told():
    empty = types.SimpleNamespace(
        CommonParams=lambda: types.SimpleNamespace(
            model=types.SimpleNamespace(),
            cpuparams=types.SimpleNamespace(),
            cpuparams_batch=types.SimpleNamespace(),
        ),
        ggml_type=types.SimpleNamespace(),
    )
    with pytest.raises(ValueError, match="GGML_TYPE_f16"):
        parameters(parse(["--model", "m", "--alias", "a", "--port", "1"]), empty)


def test_weights_that_are_none_end_the_process_with_a_reason(tmp_path, capfd):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    assert main(["--model", str(broken), "--alias", "a", "--port", "0"]) == 1
    assert "cannot serve" in capfd.readouterr().err


def test_a_stream_from_the_real_server_is_clean_and_counted(engine):
    body = {"messages": ASK, "max_tokens": 8, "stream": True, "temperature": 0}
    out, ending = engine.ask(body | {"stream_options": {"include_usage": True}})
    assert ending.failure is None
    assert out.endswith(DONE)
    assert b"timings" not in out
    assert payloads(out)[-2]["usage"]["completion_tokens"] == ending.usage.completion_tokens
    assert ending.usage.prompt_tokens > 8
    assert all(one["model"] == "tiny" for one in payloads(out)[:-1])


def test_the_same_answer_comes_whole_where_no_stream_was_asked(engine):
    body = {"messages": ASK, "max_tokens": 8, "temperature": 0, "cache_prompt": False}
    whole, ending = engine.ask(body)
    streamed, _ = engine.ask(body | {"stream": True})
    choice = json.loads(whole)["choices"][0]
    assert choice["message"]["content"] == said(streamed)
    assert ending.usage.completion_tokens <= 8


def test_several_choices_and_logprobs(engine):
    body = {"messages": ASK, "max_tokens": 4, "n": 2, "logprobs": True, "top_logprobs": 2}
    # Greedy: the hand-made model's random weights would else now and then say half a character.
    body |= {"ignore_eos": True, "temperature": 0}
    out, ending = engine.ask(body)
    choices = json.loads(out)["choices"]
    assert [one["index"] for one in choices] == [0, 1]
    assert all(len(one["logprobs"]["content"][0]["top_logprobs"]) == 2 for one in choices)
    assert ending.failure is None


def test_a_completion_with_legacy_logprobs(engine):
    # Greedy: weights that are random may end at once, with no token to tell of.
    body = {"prompt": "the cat", "max_tokens": 3, "logprobs": 1, "temperature": 0}
    out, _ = engine.ask(body, Operation.COMPLETION)
    logprobs = json.loads(out)["choices"][0]["logprobs"]
    assert 1 <= len(logprobs["tokens"]) == len(logprobs["text_offset"]) <= 3


@pytest.mark.parametrize("prefix", ["h", "ha ha", "the sun " * 30])
def test_a_trailing_assistant_message_is_continued_and_never_repeated(engine, prefix):
    body = {"messages": [*ASK, {"role": "assistant", "content": prefix}], "max_tokens": 3}
    out, ending = engine.ask(body | {"stream": True})
    assert ending.failure is None
    assert len(said(out)) < len(prefix) + 12
    assert not said(out).startswith(prefix) or len(prefix) < 8
    assert b"logprobs" not in out


def test_a_prompt_over_the_window_is_the_callers_fault(engine):
    _, ending = engine.ask({"messages": [{"role": "user", "content": "the cat " * 400}]})
    assert ending.failure.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert not ending.failure.blames_engine


def test_vectors_come_as_numbers_and_as_base64(engine):
    for fields in ({"input": "the cat"}, {"input": ["a", "b"]}, {"input": [5, 6]}):
        out, ending = engine.ask(fields, Operation.EMBEDDINGS)
        assert ending.failure is None, fields
        assert len(json.loads(out)["data"][0]["embedding"]) == WIDTH
        assert ending.usage.prompt_tokens > 0
    out, _ = engine.ask({"input": "a", "encoding_format": "base64"}, Operation.EMBEDDINGS)
    assert isinstance(json.loads(out)["data"][0]["embedding"], str)


def test_no_request_gets_in_without_the_key(engine):
    call = engine.outbound({"messages": ASK})
    engine_without_key = type(engine)(**{**vars(engine), "headers": {}})
    connection = engine_without_key.post(call)
    assert connection.getresponse().status == 401
    connection.close()


def test_a_caller_that_leaves_frees_its_seat(engine):
    body = {"messages": ASK, "max_tokens": 400, "ignore_eos": True}
    connection = engine.post(engine.outbound(body))
    connection.getresponse().read1(10)
    connection.close()
    until_blocking(
        lambda: b"llamacpp:requests_processing 0" in engine.get("/metrics")[1],
        "the engine has stopped",
    )


def test_requests_that_fill_their_contexts_do_not_harm_each_other(engine):
    """Promise P5: in a cache that seats shared freely, both would fail when it is full."""
    body = {"messages": ASK, "ignore_eos": True, "temperature": 0}
    with ThreadPoolExecutor(2) as callers:
        answers = list(callers.map(lambda _: engine.ask(body), range(2)))
    for _, ending in answers:
        assert ending.failure is None
        assert ending.finish_reason == "length"
        total = ending.usage.prompt_tokens + ending.usage.completion_tokens
        assert total >= 500
