"""Engine descriptions for tests: one that spawns the tiny server, one that attaches to a server."""

import sys
from pathlib import Path
from typing import ClassVar

from helexa.model_runtime.interfaces import (
    AttachPlan,
    Failure,
    InboundCall,
    Instruments,
    Launch,
    LaunchPlan,
    OptionSpec,
    OutboundCall,
    Probe,
    WeightsSummary,
)
from helexa.protocol.errors import ErrorCode
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.workload import Workload

SERVER = Path(__file__).parent / "tiny_server.py"
GIB = 1 << 30
KNOWN = frozenset(
    "seats memory_gib health_after canary exit crash_on sick_on stubborn starts".split()  # noqa: SIM905
)


class TinyEngine:
    """Runs the tiny server. `memory_gib` is what it says to need, as is `seats`."""

    name: ClassVar[str] = "tiny"
    spawns: ClassVar[bool] = True
    options: ClassVar[tuple[OptionSpec, ...]] = ()
    binaries: ClassVar[tuple[str, ...]] = ()
    instruments: ClassVar[Instruments | None] = None

    def problems(self, config: ModelConfig) -> list[str]:
        if "boom" in config.options:
            raise RuntimeError("a bug of the description")
        return [f"unknown option {name!r}" for name in config.options if name not in KNOWN]

    def launch(self, launch: Launch) -> LaunchPlan:
        if launch.config.options.get("exit") == "never":
            raise ValueError("no usable binary")
        arguments = (f"{name}={value}" for name, value in sorted(launch.config.options.items()))
        return LaunchPlan(
            argv=(sys.executable, "-I", "-S", str(SERVER), str(launch.port), *arguments),
            endpoint=f"http://127.0.0.1:{launch.port}",
            headers={"authorization": f"Bearer {launch.api_key}"},
        )

    def attach(self, config: ModelConfig) -> AttachPlan:
        raise ValueError("it is spawned")

    def capability(self, config: ModelConfig, weights: WeightsSummary | None) -> ModelCapability:
        gib = config.options.get("memory_gib")
        return ModelCapability(
            workloads=(Workload.CHAT,),
            seats=int(config.options.get("seats", 2)),
            memory_bytes=None if gib is None else int(float(gib) * GIB),
        )

    def probe(self, config: ModelConfig, capability: ModelCapability) -> Probe:
        return Probe(health_path="/health", canary_path="/canary", canary_body=b"{}")

    def call(self, inbound: InboundCall) -> OutboundCall | Failure:
        return Failure(ErrorCode.NOT_SUPPORTED, "no requests in these tests", blames_engine=False)


class AttachedEngine(TinyEngine):
    """Attaches to `listen_endpoint`."""

    name: ClassVar[str] = "attached"
    spawns: ClassVar[bool] = False

    def attach(self, config: ModelConfig) -> AttachPlan:
        assert config.listen_endpoint is not None
        key = config.options.get("starts")
        return AttachPlan(config.listen_endpoint, key_file=None if key is None else str(key))
