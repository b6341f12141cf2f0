import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from helexa.model_runtime.engines.stream import StreamTranslation
from helexa.model_runtime.engines.vllm import Vllm
from helexa.model_runtime.engines.whole import WholeTranslation
from helexa.model_runtime.interfaces import Failure, OutboundCall
from helexa.protocol.inference import Continued
from helexa.protocol.workload import Operation, Workload
from tests.fakes import llama_stream as ls
from tests.fakes.engine_process import EngineProcess, running
from tests.fakes.launches import EMBEDDER, WEIGHTS, config, inbound, launch
from tests.fakes.runnable_folder import write_runnable_folder

ENGINE = Vllm()
START_S = 240.0
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def model(**options):
    return config(engine="vllm", options=options)


def sent(fields, **changes):
    call = ENGINE.call(inbound(json.dumps(fields).encode(), **changes))
    return call, json.loads(call.body)


def test_golden_arguments_on_a_cpu():
    plan = ENGINE.launch(launch(model(context_tokens=2048), weights_path="/models/smol"))
    assert " ".join(plan.argv) == (
        "/usr/bin/python3 -I -m vllm.entrypoints.openai.api_server --model /models/smol "
        "--served-model-name smol --host 127.0.0.1 --port 18000 --max-num-seqs 16 --dtype auto "
        "--max-model-len 2048 --enforce-eager --enable-prefix-caching"
    )
    assert plan.environment == {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "2",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_API_KEY": "k3y",
    }
    assert plan.headers == {"authorization": "Bearer k3y"}


def test_golden_arguments_on_a_gpu():
    options = {
        "parallel": 64, "gpu_memory_ratio": 0.85, "tensor_parallel": 2, "dtype": "bfloat16",
        "quantization": "awq", "kv_cache_type": "fp8", "prefix_caching": False, "seed": 3,
        "tool_parser": "hermes", "reasoning_parser": "qwen3",
    }  # fmt: skip
    given = launch(
        model(**options), gpu=True, api_key="", binaries={"vllm-python": "/opt/vllm/bin/python"}
    )
    plan = ENGINE.launch(given)
    assert " ".join(plan.argv) == (
        "/opt/vllm/bin/python -I -m vllm.entrypoints.openai.api_server --model /models/smol.gguf "
        "--served-model-name smol --host 127.0.0.1 --port 18000 --max-num-seqs 64 "
        "--dtype bfloat16 --gpu-memory-utilization 0.85 --tensor-parallel-size 2 "
        "--quantization awq --kv-cache-dtype fp8 --seed 3 --reasoning-parser qwen3 "
        "--no-enable-prefix-caching --enable-auto-tool-choice --tool-call-parser hermes"
    )
    assert "VLLM_CPU_KVCACHE_SPACE" not in plan.environment


def test_development_mode_is_never_on():
    plan = ENGINE.launch(launch(model()))
    assert "VLLM_SERVER_DEV_MODE" not in plan.environment
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in plan.environment
    assert "--trust-remote-code" not in plan.argv
    assert "k3y" not in " ".join(plan.argv)


def test_an_embedding_model_is_served_as_one():
    assert ENGINE.launch(launch(model(embeddings=True))).argv[-2:] == ("--runner", "pooling")
    found = ENGINE.capability(model(), EMBEDDER)
    assert found.workloads == (Workload.EMBEDDINGS,)
    assert found.embedding_dimensions == 384
    assert not found.resume


def test_capability_of_a_text_model():
    found = ENGINE.capability(model(tool_parser="hermes"), WEIGHTS)
    assert found.workloads == (Workload.CHAT, Workload.COMPLETION)
    assert (found.context_tokens, found.seats) == (8192, 16)
    assert found.tools
    assert found.resume
    assert found.memory_bytes > 3 << 30
    assert ENGINE.capability(model(), None).tools is None
    assert ENGINE.capability(model(), EMBEDDER).tools is False


def test_problems_are_told():
    bad = config(engine="vllm", source=None, listen_endpoint="http://x", options={"seed": -1})
    assert len(ENGINE.problems(bad)) == 3
    with pytest.raises(ValueError, match="seed"):
        ENGINE.launch(launch(bad))
    with pytest.raises(ValueError, match="folder"):
        ENGINE.launch(launch(model(), weights_path=None))
    with pytest.raises(ValueError, match="openai"):
        ENGINE.attach(model())


def test_readiness_needs_a_canary_because_health_alone_lies():
    probe = ENGINE.probe(model(), ENGINE.capability(model(), WEIGHTS))
    assert probe.health_path == "/health"
    assert probe.canary_path == "/v1/chat/completions"


def test_a_trailing_assistant_message_needs_both_flags():
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "I"}]
    _, body = sent({"messages": messages, "echo": True})
    assert body["add_generation_prompt"] is False
    assert body["continue_final_message"] is True
    assert "echo" not in body
    _, plain = sent({"messages": messages[:1]})
    assert "continue_final_message" not in plain


def test_a_stream_that_another_neuron_began_keeps_its_id():
    part = Continued(id="first", created=7, completion_tokens=3)
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "I"}]
    call, _ = sent({"messages": messages}, stream=True, continues=part)
    out, _ = ls.translate(call.translation, ls.chat(" am"))
    assert {(each["id"], each["created"]) for each in ls.payloads(out)[:-1]} == {("first", 7)}
    assert ls.said(out) == " am"


def test_a_stream_is_always_counted():
    call, body = sent({"messages": []}, stream=True)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert isinstance(call.translation, StreamTranslation)
    call, body = sent({"messages": [], "stream_options": {}}, stream=False)
    assert body["stream"] is False
    assert "stream_options" not in body
    assert isinstance(call.translation, WholeTranslation)


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"logprobs": True}, {"tools": [TOOL]}, {"response_format": {"type": "x"}}]
)
def test_a_stream_that_nobody_continues_is_counted_at_its_end_alone(fields):
    _, body = sent({"messages": [], **fields}, stream=True)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": False}


@pytest.mark.parametrize(
    ("said", "kept"), [("line\n\n", "line"), ("a  ", "a"), ("a", "a"), (" \n", None)]
)
def test_space_at_the_end_is_left_to_the_engine_and_not_told_twice(said, kept):
    """A template that trims would have it said again; one that does not, too."""
    part = Continued(id="first", created=7, completion_tokens=3)
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": said}]
    call, body = sent({"messages": messages}, stream=True, continues=part)
    space = said[len(said.rstrip()) :]
    assert body["messages"] == (
        messages[:1] if kept is None else [messages[0], {"role": "assistant", "content": kept}]
    )
    assert ("continue_final_message" in body) is (kept is not None)
    out, _ = ls.translate(call.translation, ls.chat(f"{space}next"))
    assert said + ls.said(out) == f"{said}next"


@pytest.mark.parametrize(
    ("own", "tenant", "salt"),
    [
        ({}, "alice", "alice"),
        ({"cache_salt": "s"}, "alice", "alice\ns"),
        ({"cache_salt": "s"}, "", "s"),
        ({}, "", None),
    ],
)
def test_a_tenants_prompts_are_cached_for_itself_alone(own, tenant, salt):
    """S33: whoever names another one's salt has its own before it."""
    _, body = sent({"messages": [], **own}, tenant=tenant)
    assert body.get("cache_salt") == salt


def test_a_bound_on_tokens_is_clamped_and_none_is_invented():
    """With a bound of its whole context vLLM refuses every prompt."""
    assert "max_tokens" not in sent({"messages": []})[1]
    assert sent({"messages": [], "max_tokens": 99999})[1]["max_tokens"] == 4096
    assert sent({"messages": [], "max_completion_tokens": 3, "max_tokens": 9})[1]["max_tokens"] == 3


def test_embeddings_and_bad_bodies():
    call = ENGINE.call(inbound(b'{"input":"x"}', Operation.EMBEDDINGS))
    assert call.path == "/v1/embeddings"
    assert isinstance(ENGINE.call(inbound(b"{")), Failure)
    assert isinstance(ENGINE.call(inbound(b'{"functions":[{"name":"f"}]}')), Failure)


def installed() -> str | None:
    """The Python of a vLLM: this one, `vllm-python`, or the neighbour of a `vllm` on the PATH."""
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    command = shutil.which("vllm")
    beside = Path(command).parent / "python" if command else None
    return shutil.which("vllm-python") or (str(beside) if beside and beside.exists() else None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    python = installed()
    if python is None:
        pytest.skip("vLLM is not installed here")
    folder = tmp_path_factory.mktemp("vllm")
    weights = write_runnable_folder(folder / "tiny")
    wanted = model(context_tokens=128, parallel=2, dtype="float32")
    with running(
        ENGINE, wanted, folder, weights_path=weights, python=python, patience_s=START_S
    ) as process:
        yield process


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(START_S + 60)
def test_a_real_server_starts_as_described_and_answers_its_canary(served: EngineProcess) -> None:
    """vLLM with its own arguments, its own key, and one real token."""
    probe = ENGINE.probe(served.config, served.capability)
    canary = OutboundCall(probe.canary_path or "", probe.canary_body, WholeTranslation(),
        headers={"content-type": "application/json"})  # fmt: skip
    connection = served.post(canary)
    assert connection.getresponse().status == 200
    connection.close()
    # Without a parser it refuses tools itself: what `capability.tools` None relies on.
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "tools": [TOOL]}).encode()
    connection = served.post(replace(canary, body=body))
    assert connection.getresponse().status == 400
    connection.close()
    stranger = replace(served, headers={})
    assert stranger.get("/v1/models")[0] == 401


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(START_S + 60)
@pytest.mark.parametrize("stream", [False, True])
def test_a_real_server_answers_through_our_translation(served: EngineProcess, stream: bool) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "stream": stream,
             "ignore_eos": True, "temperature": 0}  # fmt: skip
    told, ending = served.ask(asked)
    assert ending.failure is None
    assert ending.usage is not None
    assert ending.usage.completion_tokens == 9
    assert ending.finish_reason == ("length" if stream else "")  # a whole answer is not read
    assert told.endswith(b"data: [DONE]\n\n") is stream
    said = served.ask({**asked, "max_tokens": 100_000})[1]
    assert said.failure is None


@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here")
def test_every_argument_is_known_to_the_installed_vllm():
    from vllm.entrypoints.openai.cli_args import make_arg_parser  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    options = {"context_tokens": 512, "tool_parser": "hermes", "kv_cache_type": "auto", "seed": 1}
    argv = ENGINE.launch(launch(model(**options))).argv[4:]
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(argv)
    assert parsed.max_model_len == 512
