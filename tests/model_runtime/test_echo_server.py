import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from helexa.model_runtime.echo_server import parse
from helexa.model_runtime.echo_text import expected_text
from helexa.model_runtime.engines.echo import Echo
from helexa.protocol.errors import ErrorCode
from helexa.protocol.model import ModelConfig
from helexa.protocol.workload import Operation
from tests.fakes.engine_process import running
from tests.fakes.llama_stream import DONE, said
from tests.fakes.waiting import until_blocking


def config(**options):
    return ModelConfig(id="echo", engine="echo", options=options)


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with running(Echo(), config(tokens_per_second=500), tmp_path_factory.mktemp("echo")) as found:
        yield found


def stats(engine):
    return json.loads(engine.get("/stats")[1])


def ask(engine, tokens=5, request_id="req-1", stream=True, **fields):
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": tokens, **fields}
    return engine.ask(body | {"stream": stream}, request_id=request_id)


def test_thirty_streams_at_once_each_say_their_own_text(echo):
    """S32: nothing lost, doubled or mixed up."""
    ids = [f"many-{number}" for number in range(30)]
    with ThreadPoolExecutor(30) as callers:
        answers = list(callers.map(lambda one: ask(echo, 40, one), ids))
    for request_id, (out, ending) in zip(ids, answers, strict=True):
        assert said(out) == expected_text(request_id, 40)
        assert out.endswith(DONE)
        assert ending.usage.completion_tokens == 40


def test_whole_answers_completions_and_vectors(echo):
    out, ending = ask(echo, 3, "whole", stream=False)
    assert json.loads(out)["choices"][0]["message"]["content"] == expected_text("whole", 3)
    assert ending.usage.completion_tokens == 3
    out, _ = echo.ask({"prompt": "x", "max_tokens": 2}, Operation.COMPLETION, request_id="c")
    assert json.loads(out)["choices"][0]["text"] == expected_text("c", 2)
    out, _ = echo.ask({"input": ["a", "b"]}, Operation.EMBEDDINGS)
    assert [len(one["embedding"]) for one in json.loads(out)["data"]] == [384, 384]


def test_an_answer_is_continued_from_where_it_was_cut(echo):
    text = expected_text("cut", 10)
    told = [{"role": "user", "content": "x"}, {"role": "assistant", "content": text[:37]}]
    out, _ = ask(echo, 30, "cut", messages=told)
    assert expected_text("cut", 40).startswith(text[:37] + said(out))


def test_models_unknown_routes_and_bad_bodies(echo):
    assert json.loads(echo.get("/v1/models")[1])["data"][0]["id"] == "echo"
    assert echo.get("/nowhere")[0] == 404
    _, ending = ask(echo, n=3)
    assert ending.failure.code is ErrorCode.INVALID_REQUEST_BODY
    _, ending = ask(echo, messages=[{"role": "user", "content": "word " * 9000}])
    assert ending.failure.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED


def test_a_caller_that_leaves_frees_its_place(echo):
    before = stats(echo)
    call = echo.outbound({"messages": [], "max_tokens": 8000, "stream": True}, request_id="left")
    connection = echo.post(call)
    connection.getresponse().read1(100)
    assert stats(echo)["active"] == before["active"] + 1
    connection.close()
    until_blocking(lambda: stats(echo)["active"] == before["active"], "its place is free")
    assert stats(echo)["aborted"] == before["aborted"] + 1
    assert stats(echo)["request_ids"][-1] == "left"


def test_it_needs_its_key(echo):
    stranger = type(echo)(**{**vars(echo), "headers": {}})
    assert stranger.get("/v1/models")[0] == 401
    assert stranger.get("/health")[0] == 200


def test_a_second_request_on_the_same_connection_is_answered(echo):
    call = echo.outbound({"messages": [], "max_tokens": 2, "stream": True})
    connection = echo.post(call)
    for _ in range(3):
        assert connection.getresponse().read().endswith(DONE)
        connection.request("POST", call.path, call.body, headers={**echo.headers, **call.headers})
    connection.close()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"crash_at_token": 2}, None, 2),
        ({"truncate_at_token": 2}, ErrorCode.ENGINE_CRASH, 2),
        ({"garbage_at_token": 2, "garbage": "half_json"}, ErrorCode.ENGINE_GARBAGE, 2),
        ({"error_status": 500}, ErrorCode.INTERNAL_ERROR, 0),
        ({"error_status": 503}, ErrorCode.MODEL_LOADING, 0),
        ({"crash_on_prompt": "die now"}, None, 0),
    ],
)
def test_faults_happen_as_ordered_and_never_look_like_an_end(tmp_path, options, code, text):
    """Promise P1."""
    with running(Echo(), config(**options), tmp_path) as engine:
        try:
            out, ending = ask(engine, 9, messages=[{"role": "user", "content": "die now"}])
        except OSError:
            assert options.get("crash_on_prompt")
            out, ending = b"", None
        assert said(out) == expected_text("req-1", text)
        if ending is not None:
            assert ending.failure is not None
            assert ending.failure.code is (code or ErrorCode.UPSTREAM_CONNECTION_ERROR)
        if code is None:
            assert engine.process.wait(20) == 134


def test_a_slow_start_is_told_and_an_exit_on_start_has_its_status(tmp_path):
    with running(Echo(), config(start_delay_ms=300_000), tmp_path, wait=False) as slow:

        def told():
            try:
                return slow.get("/health")
            except OSError:
                return None

        until_blocking(told, "it listens")
        status, body = told()
        assert (status, json.loads(body)["error"]["code"]) == (503, 503)
    with running(Echo(), config(exit_on_start=7), tmp_path, wait=False) as gone:
        assert gone.process.wait(20) == 7
        assert "status 7" in gone.log.read_text()


def test_an_unknown_argument_is_refused():
    with pytest.raises(SystemExit):
        parse(["--port", "0", "--host", "0.0.0.0"])
