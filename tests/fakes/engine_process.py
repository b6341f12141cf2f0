"""A real engine process started as a neuron would, and requests to it through its description."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from helexa.model_runtime.interfaces import (
    EngineDescription,
    Failure,
    InboundCall,
    Launch,
    OutboundCall,
    WeightsSummary,
)
from helexa.model_runtime.packaged import packaged_servers
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.workload import Operation
from tests.fakes.waiting import PATIENCE_S, until_blocking

TIMEOUT_S = 30.0


@dataclass
class EngineProcess:
    engine: EngineDescription
    config: ModelConfig
    capability: ModelCapability
    process: subprocess.Popen
    port: int
    headers: dict[str, str]
    log: Path

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path, headers=self.headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def outbound(
        self, fields: dict, operation=Operation.CHAT, request_id="req-1", **changes
    ) -> OutboundCall | Failure:
        stream = bool(fields.get("stream"))
        options = fields.get("stream_options") or {}
        return self.engine.call(
            InboundCall(
                operation=operation,
                body=json.dumps(fields).encode(),
                stream=stream,
                include_usage=bool(options.get("include_usage")),
                request_id=request_id,
                config=self.config,
                capability=self.capability,
                **changes,
            )
        )

    def post(self, call: OutboundCall) -> http.client.HTTPConnection:
        """Send a call; the caller reads the answer and closes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        connection.request(
            call.method,
            call.path,
            call.body,
            headers={"content-type": "application/json", **self.headers, **call.headers},
        )
        return connection

    def ask(self, fields: dict, operation=Operation.CHAT, **changes):
        """Send a request and translate its answer; return (bytes for the caller, Ending)."""
        call = self.outbound(fields, operation, **changes)
        assert isinstance(call, OutboundCall), call
        connection = self.post(call)
        try:
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            call.translation.on_head(response.status, headers)
            out, complete = b"", True
            try:
                while data := response.read1(65536):
                    out += call.translation.on_data(data)
                complete = response.length in (None, 0)
            except (http.client.HTTPException, OSError):
                complete = False
            ending = call.translation.on_end(complete=complete)
            return out + ending.data, ending
        finally:
            connection.close()


def free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    engine: EngineDescription,
    config: ModelConfig,
    folder: Path,
    *,
    weights_path: Path | None = None,
    weights: WeightsSummary | None = None,
    wait: bool = True,
    python: str = sys.executable,
    patience_s: float = PATIENCE_S,
) -> Iterator[EngineProcess]:
    """Start the engine, wait until it is healthy, and end it with the block."""
    key_file = folder / "engine.key"
    key_file.write_text("k3y\n")
    port = free_port()
    plan = engine.launch(
        Launch(
            config=config,
            weights_path=None if weights_path is None else str(weights_path),
            weights=weights,
            port=port,
            api_key="k3y",
            key_file=str(key_file),
            threads=1,
            binaries=packaged_servers(),
            python=python,
        )
    )
    log = folder / f"engine-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            plan.argv, env=dict(plan.environment), stdout=output, stderr=output, cwd="/",
            start_new_session=True,
        )  # fmt: skip
    capability = engine.capability(config, weights)
    found = EngineProcess(engine, config, capability, process, port, dict(plan.headers), log)
    try:
        if wait:
            until_blocking(lambda: _healthy(found), f"{config.engine} serves", patience_s)
        yield found
    finally:
        with suppress(ProcessLookupError):  # its children, too: vLLM has several
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT_S)


def _healthy(engine: EngineProcess) -> bool:
    assert engine.process.poll() is None, engine.log.read_text()[-2000:]
    try:
        return engine.get("/health")[0] == 200
    except OSError:
        return False
