"""The gateway of a running stack as strangers find it: refusals, keys, hostile bytes.

Never a 5xx for what a caller did wrong, never a request that reaches the engine twice.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.http_cases import Case, cases
from tests.conformance.http_wire import play
from tests.e2e.echoes import CHAT, body, echo, engine_of, port_of, stats
from tests.e2e.roles import ROOT, environment
from tests.e2e.stack import Stack, get
from tests.e2e.wire import HOST, Ending, ask, exchange_bytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BODY_BYTES_MAX = 1 << 20
SMALL = json.dumps(body("echo", 2, stream=False)).encode()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    limits = {"body_bytes_max": BODY_BYTES_MAX, "header_timeout_s": 1.0}
    with Stack([echo()], cortex={"gateway": limits}) as stack:
        yield stack


# ── the table of errors ───────────────────────────────────────────────────────────────────────

MESSAGES = [{"role": "user", "content": "x"}]
BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "not JSON": (b"{", 400, "malformed_json"),
    "empty": (b"", 400, "malformed_json"),
    "not an object": (b"[]", 400, "invalid_request_body"),
    "not UTF-8": (b'{"model":"\xff"}', 400, "malformed_json"),
    "a number that is none": (b'{"model":"echo","temperature":NaN}', 400, "malformed_json"),
    "deep": (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "malformed_json"),
    "a long number": (b'{"seed":' + b"9" * 5000 + b"}", 400, "malformed_json"),
    "no messages": (b'{"model":"echo"}', 400, "invalid_request_body"),
    "an empty conversation": (b'{"model":"echo","messages":[]}', 400, "invalid_request_body"),
    "an unknown role": (
        json.dumps({"model": "echo", "messages": [{"role": "king", "content": "x"}]}).encode(),
        400, "invalid_request_body",
    ),
    "a huge n": (json.dumps({**body("echo", 1), "n": 10**6}).encode(), 400, "invalid_request_body"),
    "no model": (json.dumps({"messages": MESSAGES}).encode(), 400, "missing_model_field"),
    "an unknown model": (
        json.dumps({"model": "nope", "messages": MESSAGES}).encode(), 404, "model_not_found",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_has_its_code(stack: Stack, name: str) -> None:
    raw, status, code = BAD_BODIES[name]
    answer = await ask(stack.gateway, "POST", CHAT, raw, {"content-type": "application/json"})
    assert (answer.status, answer.code) == (status, code), answer.body
    assert set(answer.json()["error"]) >= {"message", "type", "code", "param"}
    assert "retry-after" not in answer.headers
    assert answer.headers["x-request-id"]


async def test_routes_methods_and_types_are_told_apart(stack: Stack) -> None:
    port = stack.gateway
    wrong = await ask(port, "GET", CHAT)
    assert (wrong.status, wrong.code) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["allow"]
    nowhere = await ask(port, "GET", "/v2/nothing")
    assert (nowhere.status, nowhere.code) == (404, "route_not_found")
    typed = await ask(port, "POST", CHAT, SMALL, {"content-type": "text/plain"})
    assert (typed.status, typed.code) == (415, "unsupported_media_type")
    packed = await ask(port, "POST", CHAT, SMALL, {"content-encoding": "gzip"})
    assert (packed.status, packed.code) == (415, "unsupported_media_type")
    model = await ask(port, "GET", "/v1/models/nope")
    assert (model.status, model.code) == (404, "model_not_found")


async def test_a_body_over_the_limit_is_413_and_the_engine_never_sees_it(stack: Stack) -> None:
    before = stats(port_of(engine_of(stack, "echo")))["received"]
    answer = await ask(stack.gateway, "POST", CHAT, b" " * (BODY_BYTES_MAX + 1))
    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert stats(port_of(engine_of(stack, "echo")))["received"] == before


async def test_slow_headers_are_408(stack: Stack) -> None:
    answer = await exchange_bytes(stack.gateway, b"GET /health HTTP/1.1\r\nhost:", within_s=10)
    assert answer.startswith(b"HTTP/1.1 408 "), answer


async def test_operators_routes_are_not_on_the_public_port(stack: Stack) -> None:
    """S16: what the admin socket serves is not here."""
    for path in (
        "/status",
        "/admin",
        "/v1/neurons",
        "/docs",
        "/debug",
        "/slots",
        "/props",
        "/stats",
    ):
        assert (await ask(stack.gateway, "GET", path)).status == 404, path


def documented_metrics() -> dict[str, tuple[str, set[str]]]:
    """Return kind and labels of each metric, by name, as docs/metrics.md has them."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(helexa_\w+)` \| (\w+) \| ([^|]+) \|", page, re.MULTILINE)
    return {name: (kind, set(re.findall(r"[a-z]+", labels))) for name, kind, labels in rows}


async def test_metrics_of_both_roles_are_prometheus_text_as_it_is_documented(stack: Stack) -> None:
    """R1.42. Dashboards rely on names, kinds and labels."""
    documented = documented_metrics()
    assert (await ask(stack.gateway, "POST", CHAT, SMALL)).status == 200
    told = set()
    for port in (stack.gateway, stack.api["n1"]):
        answer = await ask(port, "GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        for family in text_string_to_metric_families(answer.body.decode()):
            if not family.name.startswith("helexa_"):
                continue
            name = family.name + ("_total" if family.type == "counter" else "")
            kind, labels = documented[name]
            found = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert family.type == kind, name
            assert found <= labels, name
            told.add(name)
    assert {"helexa_requests_total", "helexa_overhead_seconds", "helexa_tunnel_rtt_seconds"} <= told
    assert {"helexa_engine_info", "helexa_neuron_info", "helexa_disk_free_bytes"} <= told


async def test_invented_models_make_no_series(stack: Stack) -> None:
    """S26."""
    for number in range(300):
        await ask(stack.gateway, "POST", CHAT, body(f"invented-{number}", 1))
    assert b"invented-" not in (await ask(stack.gateway, "GET", "/metrics")).body


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def keyed() -> Iterator[tuple[Stack, str]]:
    secret = f"hx_test_{os.urandom(16).hex()}"
    stack = Stack([echo()], cortex={"auth": {"keys_file": "keys"}})
    keys = stack.folder / "keys"
    keys.write_text(f"# who: digest\nann: sha256:{hashlib.sha256(secret.encode()).hexdigest()}\n")
    keys.chmod(0o600)
    stack.headers = {"authorization": f"Bearer {secret}"}
    with stack:
        yield stack, secret


def test_a_key_opens_and_no_other_does(keyed: tuple[Stack, str]) -> None:
    stack, secret = keyed
    url = f"{stack.base_url}/v1"
    with openai.OpenAI(base_url=url, api_key=secret, max_retries=0) as client:
        answer = client.chat.completions.create(model="echo", messages=MESSAGES, max_tokens=3)
        assert answer.choices[0].message.content
        assert [model.id for model in client.models.list()] == ["echo"]
    with openai.OpenAI(base_url=url, api_key=f"{secret}x", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model="echo", messages=MESSAGES)
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert secret not in stack.cortex.log()
    assert get(stack.gateway, "/health")[0] == 200


async def test_every_wrong_credential_gets_the_same_401(keyed: tuple[Stack, str]) -> None:
    stack, secret = keyed
    seen = set()
    for value in ("Bearer", "Bearer ", f"Basic {secret}", f"bearer  {secret}x", "' OR 1=1 --", ""):
        answer = await ask(stack.gateway, "POST", CHAT, SMALL, {"authorization": value})
        assert answer.status == 401, value
        error = answer.json()["error"]
        seen.add((error["message"], error["code"], answer.headers.get("www-authenticate")))
    assert len(seen) == 1
    by_x = await ask(stack.gateway, "POST", CHAT, SMALL, {"x-api-key": secret})
    assert by_x.status == 200


# ── hostile bytes ─────────────────────────────────────────────────────────────────────────────

CASES = cases(CHAT.encode(), SMALL, b"Content-Type: application/json\r\n")
SENTINEL = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
async def test_a_hostile_request_has_one_answer_and_is_never_forwarded_twice(
    stack: Stack, case: Case
) -> None:
    """R1.29: through a real gateway to a real engine, which counts what reached it."""
    port = port_of(engine_of(stack, "echo"))
    before = stats(port)["received"]
    answers = await play(HOST, stack.gateway, case, SENTINEL)
    reached = stats(port)["received"] - before
    assert len(answers) == len(case.statuses), [answer.status for answer in answers]
    for answer, allowed in zip(answers, case.statuses, strict=True):
        assert answer.status in allowed
        assert answer.status < 500
        assert answer.whole
    served = sum(b'"choices"' in answer.body for answer in answers)
    assert reached == served <= case.forwarded


def test_schemathesis_finds_no_5xx(stack: Stack) -> None:
    """Random and hostile calls of every route that `/openapi.json` describes."""
    config = stack.folder / "schemathesis.toml"
    config.write_text("")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run",
         f"{stack.base_url}/openapi.json", "--checks", "not_a_server_error",
         "--max-examples", "40", "--phases", "examples,coverage,fuzzing", "--seed", "7",
         "--generation-database", "none", "--workers", "1", "--no-color"],
        cwd=stack.folder, env=environment(), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# ── command lines ─────────────────────────────────────────────────────────────────────────────


def helexa(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "helexa", *arguments], cwd=cwd, env=environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_help_is_there_for_every_role_and_lists_its_flags() -> None:
    """R0.37, R1.37."""
    flags = {
        (): (),
        ("cortex",): ("--config", "--log-level", "--gateway-socket", "--control-plane-socket",
                      "--orchestrator-socket", "--portal-socket", "--spec", "--state-dir"),
        ("neuron",): ("--config", "--log-level", "--cortex-control-endpoint", "--node-id",
                      "--api-socket", "--state-dir", "--join-token-file"),
    }  # fmt: skip
    for words, wanted in flags.items():
        done = helexa(*words, "--help")
        assert done.returncode == 0, done.stderr
        assert not [flag for flag in wanted if flag not in done.stdout], done.stdout


def test_status_and_models_tell_of_the_running_stack(stack: Stack) -> None:
    admin = f"{HOST}:{stack.admin}"
    status = helexa("status", "--admin", admin, "-o", "json")
    assert status.returncode == 0, status.stderr
    told: Any = json.loads(status.stdout)
    assert "n1" in json.dumps(told)
    models = helexa("models", "--admin", admin, "-o", "json")
    assert models.returncode == 0, models.stderr
    assert "echo" in models.stdout
    table = helexa("status", "--admin", admin)
    assert "n1" in table.stdout


async def test_answers_over_one_connection_in_a_pipeline_keep_their_order(stack: Stack) -> None:
    requests = b"".join(
        b"GET /v1/models/%b HTTP/1.1\r\nhost: a\r\nx-request-id: p%d\r\n%b\r\n"
        % (b"echo" if number % 2 else b"nope", number, b"connection: close\r\n" * (number == 9))
        for number in range(10)
    )
    raw = await exchange_bytes(stack.gateway, requests)
    found = [
        line.split(b": ")[1] for line in raw.split(b"\r\n") if line.startswith(b"x-request-id")
    ]
    assert found == [b"p%d" % number for number in range(10)]


async def test_a_stream_is_whole_over_http_1_0_too(stack: Stack) -> None:
    """Without chunks the connection's end is the body's, so the mark must be there."""
    raw = json.dumps(body("echo", 4)).encode()
    answer = await exchange_bytes(
        stack.gateway,
        b"POST %b HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (CHAT.encode(), len(raw), raw),
    )
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert rest.endswith(b"data: [DONE]\n\n")
    again = await ask(stack.gateway, "POST", CHAT, raw)
    assert again.ended is Ending.CLEAN
