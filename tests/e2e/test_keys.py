"""Keys of the store with real processes: the official client, two cortexes, kill -9."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from helexa.cortex.identity import LOOK_INTERVAL_S
from tests.e2e.echoes import CHAT, body, echo
from tests.e2e.polling import wait_until
from tests.e2e.roles import Role, environment
from tests.e2e.stack import Stack, free_ports, get
from tests.e2e.wire import HOST, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MESSAGES: Any = [{"role": "user", "content": "x"}]
SMALL = json.dumps(body("echo", 2, stream=False)).encode()
SOON_S = 2.0
"""Twice what is promised, for a busy machine."""


def run(stack: Stack, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command line against the stack's cortex."""
    admin = ["--admin", f"{HOST}:{stack.admin}"] if "--offline" not in arguments else []
    return subprocess.run(
        [sys.executable, "-m", "helexa", *arguments, *admin], input=given, env=environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def told(stack: Stack, *arguments: str) -> Any:
    done = run(stack, *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status_of(port: int, key: str) -> int:
    return get(port, "/v1/models", {"authorization": f"Bearer {key}"})[0]


def client_of(stack: Stack, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key, max_retries=0)


def answers(stack: Stack, key: str) -> bool:
    """Ask as an application does; False where the key is not good."""
    with client_of(stack, key) as client:
        try:
            made = client.chat.completions.create(model="echo", messages=MESSAGES, max_tokens=2)
        except openai.AuthenticationError as error:
            assert error.code == "invalid_api_key"
            return False
    return bool(made.choices[0].message.content)


def second_cortex(stack: Stack) -> tuple[Role, int, int]:
    """Return a cortex of its own state that shares the stack's store, its gateway and admin."""
    first = free_ports(3)
    config = stack.folder / "second.toml"
    store = stack.folder / "cortex-state" / "store.db"
    config.write_text(
        f'[store]\nurl = "sqlite://{store}"\n[auth]\nkind = "store"\n'
        f'[gateway]\nsocket = "{HOST}:{first}"\n[admin]\nsocket = "{HOST}:{first + 1}"\n'
        f'[control_plane]\nsocket = "{HOST}:{first + 2}"\n'
    )
    state = str(stack.folder / "second-state")
    role = Role("second", ["cortex", "--config", str(config), "--state-dir", state], stack.folder)
    return role, first, first + 1


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack([echo()], cortex={"auth": {"kind": "store"}})
    state = str(stack.folder / "cortex-state")
    made = run(stack, "keys", "create", "stack", "--offline", "--state-dir", state)
    assert made.returncode == 0, made.stderr
    stack.headers = {"authorization": f"Bearer {made.stdout.strip()}"}
    with stack:
        yield stack


def test_the_official_client_with_a_good_a_revoked_an_expired_and_a_rotated_key(
    stack: Stack,
) -> None:
    """R3.18, R3.24, S10."""
    good = told(stack, "keys", "create", "alice")
    short = told(stack, "keys", "create", "guest", "--expires", "2s")
    assert answers(stack, good["key"])
    assert answers(stack, short["key"])
    assert not answers(stack, good["key"][:-1] + ("0" if good["key"][-1] != "0" else "1"))
    assert not answers(stack, "sk-none")
    new = told(stack, "keys", "rotate", good["id"], "--overlap", "3s")
    assert answers(stack, good["key"])
    assert answers(stack, new["key"])
    wait_until(lambda: not answers(stack, short["key"]), "the guest's key is expired", 10.0)
    wait_until(lambda: not answers(stack, good["key"]), "the overlap is over", 10.0)
    assert answers(stack, new["key"])
    told(stack, "keys", "revoke", new["id"], "--cause", "laptop lost")
    assert not answers(stack, new["key"]), "on this cortex there is nothing to wait for"
    log = stack.cortex.log()
    for made in (good, short, new):
        assert made["key"].split("_")[2] not in log
    actions = [entry["action"] for entry in told(stack, "audit")]
    assert actions[:4] == ["key.revoke", "key.rotate", "key.create", "key.create"]


def test_a_disabled_tenant_and_its_return(stack: Stack) -> None:
    told(stack, "tenants", "create", "acme")
    made = told(stack, "keys", "create", "ci", "--tenant", "acme")
    assert answers(stack, made["key"])
    told(stack, "tenants", "disable", "acme")
    assert not answers(stack, made["key"])
    told(stack, "tenants", "enable", "acme")
    assert answers(stack, made["key"])


async def test_a_scope_opens_its_own_doors_and_no_other(stack: Stack) -> None:
    inference = told(stack, "keys", "create", "app")["key"]
    reader = told(stack, "keys", "create", "prometheus", "--scope", "read")["key"]
    for key, chat, metrics in ((inference, 200, 403), (reader, 403, 200)):
        headers = {"authorization": f"Bearer {key}"}
        answer = await ask(stack.gateway, "POST", CHAT, SMALL, headers)
        assert answer.status == chat
        assert chat == 200 or answer.code == "permission_denied"
        assert get(stack.gateway, "/metrics", headers)[0] == metrics
        assert get(stack.gateway, "/v1/models", headers)[0] == 200


async def test_who_guesses_is_slowed_and_a_good_key_of_the_same_address_is_not(
    stack: Stack,
) -> None:
    """S28, S06: whatever was guessed, all answers of a kind are the same bytes."""
    good = told(stack, "keys", "create", "neighbour")["key"]
    seen = set()
    for number in range(60):
        guess = ("' OR 1=1 --", "admin'--", f"hlx_{number:011d}_{'x' * 49}")[number % 3]
        answer = await ask(stack.gateway, "POST", CHAT, SMALL, {"x-api-key": guess})
        seen.add((answer.status, answer.code))
    assert seen == {(401, "invalid_api_key"), (429, "rate_limit_exceeded")}
    answer = await ask(stack.gateway, "POST", CHAT, SMALL, {"x-api-key": good})
    assert answer.status == 200
    wait_until(lambda: status_of(stack.gateway, "sk-x") == 401, "it is forgiven", 30.0)


def test_rotation_under_traffic_fails_no_request(stack: Stack) -> None:
    """S12."""
    old = told(stack, "keys", "create", "busy")
    done = threading.Event()
    failures: list[BaseException] = []
    counts = [0, 0, 0, 0]

    def ask_on(number: int) -> None:
        with client_of(stack, old["key"]) as client:
            while not done.is_set():
                try:
                    client.chat.completions.create(model="echo", messages=MESSAGES, max_tokens=2)
                except openai.OpenAIError as error:
                    failures.append(error)
                    return
                counts[number] += 1

    threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: min(counts) > 3, "all are asking", 30.0)
        new = told(stack, "keys", "rotate", old["id"], "--overlap", "1h")
        before = min(counts)
        wait_until(lambda: failures or min(counts) > before + 3, "all go on", 30.0)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert answers(stack, new["key"])


def test_two_cortexes_on_one_database(stack: Stack) -> None:
    """A key made or revoked by one holds at the other within a second."""
    assert LOOK_INTERVAL_S <= 0.5
    role, gateway, _admin = second_cortex(stack)
    role.start()
    try:
        wait_until(lambda: get(gateway, "/health")[0] == 200, "it is up", 30.0, role.assert_runs)
        made = told(stack, "keys", "create", "shared")
        wait_until(lambda: status_of(gateway, made["key"]) == 200, "known there", SOON_S)
        told(stack, "keys", "revoke", made["id"])
        wait_until(lambda: status_of(gateway, made["key"]) == 401, "revoked there", SOON_S)
        offline = run(stack, "keys", "create", "by-file", "--offline",
                      "--state-dir", str(stack.folder / "cortex-state"))  # fmt: skip
        key = offline.stdout.strip()
        for port in (gateway, stack.gateway):
            wait_until(lambda port=port: status_of(port, key) == 200, "known to both", SOON_S)
    finally:
        role.stop()
    role.assert_clean_log()


def make_key(port: int, number: int) -> str:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/api/v1/keys",
        data=json.dumps({"name": f"key {number}"}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10.0) as answer:
        return str(json.loads(answer.read())["key"])


def test_kill_9_of_a_cortex_while_keys_are_made_leaves_none_half_there(tmp_path: Path) -> None:
    first = free_ports(3)
    state = str(tmp_path / "state")
    role = Role(
        "cortex",
        ["cortex", "--auth", "store", "--state-dir", state, "--gateway-socket", f"{HOST}:{first}",
         "--admin-socket", f"{HOST}:{first + 1}", "--control-plane-socket", f"{HOST}:{first + 2}"],
        tmp_path,
    )  # fmt: skip
    shown: list[str] = []

    def make_until_it_dies() -> None:
        for number in range(10_000):
            try:
                shown.append(make_key(first + 1, number))
            except OSError:
                return

    for _ in range(3):
        role.start()
        wait_until(lambda: get(first, "/health")[0] == 200, "it is up", 30.0, role.assert_runs)
        threads = [threading.Thread(target=make_until_it_dies) for _ in range(4)]
        wanted = len(shown) + 10
        for thread in threads:
            thread.start()
        wait_until(lambda wanted=wanted: len(shown) > wanted, "keys are made", 30.0)
        role.kill()
        for thread in threads:
            thread.join()
    role.start()
    wait_until(lambda: get(first, "/health")[0] == 200, "it is up", 30.0, role.assert_runs)
    assert {status_of(first, key) for key in shown} == {200}
    keys = json.loads(get(first + 1, "/api/v1/keys")[1])["keys"]
    entries = json.loads(get(first + 1, "/api/v1/audit?limit=1000")[1])["entries"]
    assert sorted(key["id"] for key in keys) == sorted(entry["subject"] for entry in entries)
    role.stop()
    role.assert_clean_log()
    checked = subprocess.run(
        [sys.executable, "-m", "helexa", "store", "check", "--state-dir", state],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_an_admin_api_that_asks_for_keys_and_the_first_key_made_offline(tmp_path: Path) -> None:
    """S16: beyond loopback or where it is told to, the admin API takes keys with scopes."""
    first = free_ports(3)
    config, state = tmp_path / "cortex.toml", str(tmp_path / "state")
    config.write_text(
        f'[auth]\nkind = "store"\n[admin]\nsocket = "{HOST}:{first + 1}"\nrequire_key = true\n'
        f'[gateway]\nsocket = "{HOST}:{first}"\n[control_plane]\nsocket = "{HOST}:{first + 2}"\n'
    )
    words = ["--config", str(config), "--state-dir", state]

    def helexa(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "helexa", *arguments], cwd=tmp_path, env=environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    file = str(tmp_path / "admin.key")
    made = helexa("keys", "create", "me", "--scope", "admin", "--output-file", file, "--offline",
                  *words)  # fmt: skip
    assert made.returncode == 0, made.stderr
    role = Role("cortex", ["cortex", *words], tmp_path)
    role.start()
    try:
        wait_until(lambda: get(first, "/health")[0] == 200, "it is up", 30.0, role.assert_runs)
        admin = ("--admin", f"{HOST}:{first + 1}")
        refused = helexa("status", *admin)
        assert (refused.returncode, "invalid_api_key" in refused.stderr) == (4, True)
        assert helexa("status", *admin, "--admin-key-file", file).returncode == 0
        app = helexa("keys", "create", "app", *admin, "--admin-key-file", file)
        assert status_of(first, app.stdout.strip()) == 200
        (tmp_path / "app.key").write_text(app.stdout)
        (tmp_path / "app.key").chmod(0o600)
        forbidden = helexa("status", *admin, "--admin-key-file", str(tmp_path / "app.key"))
        assert (forbidden.returncode, "permission_denied" in forbidden.stderr) == (4, True)
        assert get(first + 1, "/health")[0] == 200
    finally:
        role.stop()
    role.assert_clean_log()
