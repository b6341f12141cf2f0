"""A whole helexa on this machine: one cortex, some neurons, their engines, all real processes.

A stack is a context manager. When it is left, everything must end by itself, with status 0, with
no traceback in any log and no process left behind; otherwise the test that used it fails.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.e2e import roles
from tests.e2e.polling import wait_until
from tests.e2e.roles import Role
from tests.e2e.toml_text import merged, to_toml
from tests.e2e.wire import HOST

READY_WITHIN_S = 60.0
GONE_WITHIN_S = 5.0
ENGINE_PORTS = 24
# Below the range that the kernel hands out to clients, so that no connection sits on our ports.
PORT_FIRST, PORT_LAST = 22_000, 31_000
LIVE: "list[Stack]" = []
"""Every stack that runs, for the report of a failed test."""
_entropy = random.Random(os.getpid() ^ int.from_bytes(os.urandom(4)))


def _is_free(port: int) -> bool:
    with socket.socket() as plug:
        try:
            plug.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> int:
    """Return the first of `count` free ports in a row."""
    for _ in range(200):
        first = _entropy.randrange(PORT_FIRST, PORT_LAST - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError(f"no {count} free ports between {PORT_FIRST} and {PORT_LAST}")


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """GET from a server on loopback; status 0 where nobody answers."""
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


class Stack:
    """One cortex and its neurons. `models` are entries of `[[models]]`; neurons dial
    `control_host`.

    It is entered once the models named in `wait_for` (None: all) are loaded.
    """

    def __init__(
        self,
        models: Sequence[Mapping[str, Any]],
        *,
        neurons: Sequence[str] = ("n1",),
        cortex: Mapping[str, Any] | None = None,
        neuron: Mapping[str, Any] | None = None,
        wait_for: Sequence[str] | None = None,
        control_host: str = HOST,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="helexa-e2e-"))
        self.models = list(models)
        first = free_ports(3)
        self.gateway, self.control_plane, self.admin = first, first + 1, first + 2
        self.base_url = f"http://{HOST}:{self.gateway}"
        self._control_host = control_host
        self.control_url = f"ws://{control_host}:{self.control_plane}"
        self.wait_for = wait_for
        self.ready_within_s = READY_WITHIN_S
        self.headers: dict[str, str] = {}
        """Sent when the gateway is looked at; a key, where it wants one."""
        self._neuron_settings = dict(neuron or {})
        self._seen: dict[tuple[int, float], psutil.Process] = {}
        self.cortex = self._cortex(cortex or {})
        self.api: dict[str, int] = {}
        self.neurons: dict[str, Role] = {}
        for name in neurons:
            self.add_neuron(name)

    # ── making the files ──────────────────────────────────────────────────────────────────────

    def _cortex(self, more: Mapping[str, Any]) -> Role:
        settings = merged(
            {
                "gateway": {"socket": f"{HOST}:{self.gateway}"},
                "control_plane": {"socket": f"{self._control_host}:{self.control_plane}"},
                "admin": {"socket": f"{HOST}:{self.admin}"},
                "shutdown": {"drain_s": 5.0},
                "models": self.models,
            },
            more,
        )
        path = self.folder / "cortex.toml"
        path.write_text(to_toml(settings))
        arguments = ["cortex", "--config", str(path), "--log-level", "info",
                     "--state-dir", str(self.folder / "cortex-state")]  # fmt: skip
        return Role("cortex", arguments, self.folder)

    def add_neuron(
        self, name: str, more: Mapping[str, Any] | None = None, node_id: str | None = None
    ) -> Role:
        """Write a neuron's file; it is not started yet. `name` names its folder and its log."""
        first = free_ports(ENGINE_PORTS + 1)
        self.api[name] = first
        settings = merged(
            {
                "engines": {
                    "allowed": ["llamacpp", "openai", "echo"],
                    "port_first": first + 1,
                    "port_last": first + ENGINE_PORTS,
                },
                "timeouts": {"drain_s": 5.0},
            },
            merged(self._neuron_settings, more or {}),
        )
        path = self.folder / f"{name}.toml"
        path.write_text(to_toml(settings))
        self.neurons[name] = Role(
            name,
            ["neuron", "--config", str(path), "--cortex-control-endpoint", self.control_url,
             "--node-id", node_id or name, "--api-socket", f"{HOST}:{first}",
             "--state-dir", str(self.folder / f"{name}-state"), "--log-level", "info"],
            self.folder,
        )  # fmt: skip
        return self.neurons[name]

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        LIVE.append(self)
        try:
            self.cortex.start()
            for neuron in self.neurons.values():
                neuron.start()
            self.wait_ready(self.wait_for, self.ready_within_s)
        except BaseException:
            sys.stderr.write(self.log_tails())
            self._force_down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.note_processes()
        try:
            if error is None:
                self.stop()
                for role in self.roles():
                    role.assert_clean_log()
        finally:
            self._force_down()

    def roles(self) -> Iterator[Role]:
        yield from self.neurons.values()
        yield self.cortex

    def stop(self) -> None:
        """SIGTERM everything: all ends with status 0, and nothing is left (R0.31, R0.35)."""
        for role in self.roles():
            if role.runs:
                role.stop()
        roles.wait_gone(list(self._seen.values()), GONE_WITHIN_S)
        wait_until(
            lambda: not roles.touching(self.folder),
            f"no process left of {self.folder}: {roles.touching(self.folder)}",
            GONE_WITHIN_S,
        )

    def _force_down(self) -> None:
        if self in LIVE:
            LIVE.remove(self)
        self.note_processes()
        for role in self.roles():
            if role.runs:
                role.kill()
        for process in self._seen.values():
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil never hits another process that got the same number
        shutil.rmtree(self.folder, ignore_errors=True)

    def note_processes(self) -> None:
        """Remember what runs now; all of it must be gone in the end."""
        for role in self.roles():
            if role.runs:
                for process in [psutil.Process(role.pid), *roles.descendants(role.pid)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        self._seen.setdefault((process.pid, process.create_time()), process)

    # ── looking at it ─────────────────────────────────────────────────────────────────────────

    def states(self) -> dict[str, str]:
        """Return each model's state as the gateway tells it."""
        status, body = get(self.gateway, "/v1/models", self.headers)
        entries = json.loads(body)["data"] if status == 200 else []
        return {entry["id"]: entry["state"] for entry in entries}

    def wait_ready(
        self, models: Sequence[str] | None = None, within_s: float = READY_WITHIN_S
    ) -> None:
        """Wait until these models (all that are configured) are loaded."""
        wanted = list(models) if models is not None else [entry["id"] for entry in self.models]

        def loaded() -> bool:
            states = self.states()
            return bool(states) and all(states.get(name) == "loaded" for name in wanted)

        def alive() -> None:
            for role in self.roles():
                if role.pid:
                    role.assert_runs()

        if wanted:
            wait_until(loaded, f"{wanted} loaded", within_s, alive)
        else:
            wait_until(self._is_joined, "every neuron joined", within_s, alive)
        self.note_processes()

    def _is_joined(self) -> bool:
        answers = [get(port, "/status") for port in self.api.values()]
        joined = all(status == 200 and json.loads(raw)["cortex"]["connected"]
                     for status, raw in answers)  # fmt: skip
        with socket.socket() as plug:  # it may speak TLS, so nothing is asked
            return joined and plug.connect_ex((HOST, self.gateway)) == 0

    def engines(self, name: str = "n1") -> list[int]:
        """Return the process ids of a neuron's engines."""
        return roles.engines_of(self.neurons[name].pid)

    def neuron_status(self, name: str = "n1") -> Any:
        status, body = get(self.api[name], "/status")
        assert status == 200, f"{name}: /status answered {status}"
        return json.loads(body)

    def log_tails(self) -> str:
        return "\n".join(role.log_tail() for role in self.roles())
