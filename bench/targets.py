"""What is measured against what: the mock itself, nginx, and helexa with both its processes."""

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.processes import PinnedProcess, free_port
from bench.tools import BENCH_DIR

START_TIMEOUT_S = 30.0
POLL_S = 0.05
MODEL = "m1"


class TargetUnavailableError(Exception):
    """A target is not installed here or did not start."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the gateway has for itself, and which one the rest shares."""

    gateway: int
    rest: int


def request(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Send one HTTP request to 127.0.0.1; returns status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answers_chat(port: int) -> bool:
    """Tell whether the model is listed and a chat request is answered."""
    try:
        status, body = request(port, "GET", "/v1/models")
        if status != 200 or f'"{MODEL}"'.encode() not in body:
            return False
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        status, _ = request(port, "POST", "/v1/chat/completions", chat)
    except (OSError, http.client.HTTPException):
        return False
    return status == 200


def wait_until_ready(is_ready: Callable[[], bool], *processes: PinnedProcess) -> None:
    """Poll until ready; raises TargetUnavailableError when a process ends or time is up."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        for process in processes:
            if not process.is_running():
                raise TargetUnavailableError(f"{process.name} ended: {process.log_tail()}")
        if time.monotonic() > deadline_s:
            logs = "\n".join(f"{process.name}: {process.log_tail()}" for process in processes)
            raise TargetUnavailableError(f"not ready after {START_TIMEOUT_S:.0f} s\n{logs}")
        time.sleep(POLL_S)


class Target(Protocol):
    """One thing to send load to."""

    name: str
    port: int
    gateway: PinnedProcess | None  # what runs on the gateway core
    neuron: PinnedProcess | None  # what runs beside it, if anything does

    def start(self) -> None:
        """Bring it up; raises TargetUnavailableError."""
        ...

    def stop(self) -> None:
        """Bring it down; harmless when it is not up."""
        ...


class Mock:
    """The mock backend behind every target; by itself the target `direct`."""

    name = "direct"

    def __init__(self, program: Path, cores: Cores, directory: Path) -> None:
        self.gateway: PinnedProcess | None = None
        self.neuron: PinnedProcess | None = None
        self.process: PinnedProcess | None = None
        self.port = free_port()
        self._program = program
        self._cores = cores
        self._log = directory / "mock.log"

    def start(self) -> None:
        """Start it, once for all targets."""
        if self.process is not None and self.process.is_running():
            return
        self.process = PinnedProcess(
            "mock",
            [str(self._program), "--port", str(self.port)],
            core=self._cores.rest,
            log=self._log,
        )
        wait_until_ready(lambda: answers_chat(self.port), self.process)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()

    def open_streams(self) -> int:
        """Return how many paced streams the mock is sending now."""
        _, body = request(self.port, "GET", "/stats")
        count: int = json.loads(body)["open"]
        return count


NGINX_CONFIG = """\
daemon off;
{user}
pid {directory}/nginx.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {descriptors}; multi_accept on; }}
http {{
  access_log off;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_body_buffer_size 1m;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream backend {{
    server 127.0.0.1:{backend_port};
    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""


class Nginx:
    """nginx as a plain reverse proxy: it reads no JSON, counts nothing and checks no key."""

    name = "nginx"

    def __init__(self, mock: Mock, cores: Cores, directory: Path, descriptors: int) -> None:
        self.gateway: PinnedProcess | None = None
        self.neuron: PinnedProcess | None = None
        self.port = free_port()
        self._mock = mock
        self._cores = cores
        self._directory = directory / "nginx"
        self._descriptors = descriptors

    def start(self) -> None:
        """Write the configuration and start one worker on the gateway core."""
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise TargetUnavailableError("nginx is not installed")
        self._directory.mkdir(exist_ok=True)
        config = self._directory / "nginx.conf"
        config.write_text(
            NGINX_CONFIG.format(
                # As root the worker would become a user who may not enter our folder.
                user="user root;" if os.geteuid() == 0 else "",
                directory=self._directory,
                descriptors=self._descriptors,
                backend_port=self._mock.port,
                port=self.port,
            )
        )
        self.gateway = PinnedProcess(
            "nginx",
            [program, "-p", str(self._directory), "-c", str(config), "-e", "stderr"],
            core=self._cores.gateway,
            log=self._directory / "nginx.log",
        )
        wait_until_ready(lambda: answers_chat(self.port), self.gateway)

    def stop(self) -> None:
        """End it."""
        if self.gateway is not None:
            self.gateway.stop()


CORTEX_CONFIG = """\
[gateway]
socket = "127.0.0.1:{gateway_port}"

[control_plane]
socket = "127.0.0.1:{control_port}"

[admin]
socket = "127.0.0.1:{admin_port}"

[[models]]
id = "{model}"
engine = "openai"
listen_endpoint = "http://127.0.0.1:{backend_port}"
options = {{ parallel = 16384 }}
"""


class Helexa:
    """helexa as users run it: cortex on the gateway core, a neuron beside the mock."""

    name = "helexa"

    def __init__(self, mock: Mock, cores: Cores, directory: Path) -> None:
        self.gateway: PinnedProcess | None = None
        self.neuron: PinnedProcess | None = None
        self.port = free_port()
        self._mock = mock
        self._cores = cores
        self._directory = directory / "helexa"

    def start(self) -> None:
        """Start both processes and wait until a chat request goes all the way."""
        self._directory.mkdir(exist_ok=True)
        control_port = free_port()
        config = self._directory / "cortex.toml"
        config.write_text(
            CORTEX_CONFIG.format(
                gateway_port=self.port,
                control_port=control_port,
                admin_port=free_port(),
                model=MODEL,
                backend_port=self._mock.port,
            )
        )
        cortex = [f"--config={config}", f"--state-dir={self._directory / 'cortex'}"]
        cortex += ["--log-level=warning"]
        neuron = [f"--cortex-control-endpoint=ws://127.0.0.1:{control_port}", "--node-id=bench"]
        neuron += [f"--api-socket=127.0.0.1:{free_port()}"]
        neuron += [f"--state-dir={self._directory / 'neuron'}"]
        self.gateway = self._spawn("cortex", cortex, self._cores.gateway)
        self.neuron = self._spawn("neuron", neuron, self._cores.rest)
        wait_until_ready(lambda: answers_chat(self.port), self.gateway, self.neuron)

    def _spawn(self, role: str, flags: list[str], core: int) -> PinnedProcess:
        source = BENCH_DIR.parent / "src"
        path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
        return PinnedProcess(
            role,
            [sys.executable, "-m", "helexa", role, *flags],
            core=core,
            log=self._directory / f"{role}.log",
            environment={"PYTHONPATH": path},
        )

    def stop(self) -> None:
        """End both processes."""
        for process in (self.neuron, self.gateway):
            if process is not None:
                process.stop()
