import json

import pytest

from helexa.model_runtime.echo_server import parse
from helexa.model_runtime.engines.echo import Echo
from helexa.model_runtime.engines.stream import StreamTranslation
from helexa.model_runtime.engines.whole import WholeTranslation
from helexa.model_runtime.interfaces import Failure
from helexa.protocol.workload import Operation
from tests.fakes.launches import config, inbound, launch

ENGINE = Echo()
SERVER = {"echo_server": "/lib/helexa/echo_server.py"}


def model(**options):
    return config(engine="echo", source=None, options=options)


def test_golden_arguments():
    plan = ENGINE.launch(launch(model(crash_at_token=3, parallel=2), binaries=SERVER))
    assert " ".join(plan.argv) == (
        "/usr/bin/python3 -I /lib/helexa/echo_server.py --port 18000 --model-id smol "
        "--tokens-per-second 0.0 --first-token-delay-ms 0 --default-tokens 16 "
        "--context-tokens 8192 --start-delay-ms 0 --crash-at-token 3 --garbage invalid_utf8 "
        "--api-key-file /run/key"
    )
    assert plan.environment == {}


def test_every_option_reaches_the_server():
    options = {
        "tokens_per_second": 5.5, "first_token_delay_ms": 10, "default_tokens": 3,
        "context_tokens": 100, "start_delay_ms": 20, "exit_on_start": 7, "error_status": 503,
        "crash_on_prompt": "die now", "stall_at_token": 1, "crash_at_token": 2,
        "garbage_at_token": 3, "garbage": "half_json", "truncate_at_token": 4,
    }  # fmt: skip
    named = {spec.name for spec in ENGINE.options} - {"parallel"}
    assert set(options) == named
    parsed = parse(list(ENGINE.launch(launch(model(**options), binaries=SERVER)).argv[3:]))
    assert {name: getattr(parsed, name) for name in options} == options


def test_it_needs_its_server_and_no_weights():
    with pytest.raises(ValueError, match="does not allow"):
        ENGINE.launch(launch(model()))
    bad = config(engine="echo", listen_endpoint="http://x", options={"crash_on_prompt": "--x"})
    assert len(ENGINE.problems(bad)) == 3
    with pytest.raises(ValueError, match="crash_on_prompt"):
        ENGINE.launch(launch(bad, binaries=SERVER))
    with pytest.raises(ValueError, match="openai"):
        ENGINE.attach(model())


def test_capability_and_seats():
    found = ENGINE.capability(model(parallel=3, tokens_per_second=50), None)
    assert (found.seats, found.embedding_dimensions, found.resume) == (3, 384, True)
    assert found.tokens_per_second == 50
    assert ENGINE.capability(model(), None).tokens_per_second is None
    assert (found.tools, found.json_schema) == (False, False)


def test_a_canary_does_not_meet_the_faults_that_are_meant_for_requests():
    def canary(**options):
        return ENGINE.probe(model(**options), ENGINE.capability(model(), None)).canary_path

    assert canary() == "/v1/chat/completions"
    assert canary(crash_at_token=0) is None
    assert canary(error_status=500) is None


def test_requests_carry_the_id_that_their_text_is_made_of():
    call = ENGINE.call(inbound(b'{"messages":[],"max_tokens":99999}', stream=True))
    body = json.loads(call.body)
    assert call.headers["x-request-id"] == "req-1"
    assert body["max_tokens"] == 4096
    assert body["stream_options"] == {"include_usage": True}
    assert isinstance(call.translation, StreamTranslation)
    whole = ENGINE.call(inbound(b'{"prompt":"x"}', Operation.COMPLETION))
    assert (whole.path, type(whole.translation)) == ("/v1/completions", WholeTranslation)
    vectors = ENGINE.call(inbound(b'{"input":"x"}', Operation.EMBEDDINGS))
    assert vectors.path == "/v1/embeddings"
    assert isinstance(ENGINE.call(inbound(b"")), Failure)
