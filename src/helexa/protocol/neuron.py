"""A neuron as it describes itself: who it is, what it has, how it is doing."""

import msgspec

from helexa.protocol.ids import ModelId, NeuronId


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU (or other accelerator) of a neuron."""

    index: int
    vendor: str
    name: str
    memory_total_bytes: int
    memory_free_bytes: int


class HardwareReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a neuron's machine has. CPU features are named as in /proc/cpuinfo."""

    cpu_count: int
    cpu_features: tuple[str, ...] = ()
    memory_total_bytes: int
    memory_available_bytes: int
    devices: tuple[Device, ...] = ()
    os: str = ""
    arch: str = ""


class NeuronDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """Who a neuron is. `epoch` rises with every start of the process (wall clock, ms)."""

    id: NeuronId
    epoch: int
    software_version: str = ""
    hostname: str = ""
    labels: dict[str, str] = {}


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a neuron may run: its hardware and the engines its own config allows."""

    hardware: HardwareReport
    engines: tuple[str, ...]
    memory_budget_bytes: int
    """Memory that models may use in all; never more than the hardware has."""
    dialects: tuple[str, ...] = ("openai",)
    """Names of the APIs that it takes requests in; the first releases knew one and told none."""
    generation: int = 0
    """Which telling of them this is; 0 is from a neuron that does not number them."""


class NeuronHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a neuron is doing; `problems` is empty when nothing is wrong."""

    problems: tuple[str, ...] = ()
    recent_failures: int = 0
    """Failed requests, crashes and starts of the last five minutes."""
    failed_spawns: dict[ModelId, int] = {}
    """In a row, by model; one that succeeds takes its model out."""
    failed_applies: dict[ModelId, int] = {}
    latency_ms_average: float | None = None
    """To the first token; a moving average of about the last twenty requests."""
    tokens_per_second_average: float | None = None
    """Of single streams, from their first token on; a moving average as well."""


class NeuronLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a neuron is working on right now."""

    active_requests: int = 0
    waiting_requests: int = 0
    memory_available_bytes: int = 0
    cpu_ratio: float = 0.0
