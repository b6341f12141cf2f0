"""From a neuron's messages to events, and what makes a message unbelievable. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from helexa.cortex.orchestrator.events import (
    CapabilitiesChanged,
    CommandAnswered,
    Event,
    HealthReported,
    ModelReported,
    NeuronBeat,
    NeuronLeaving,
)
from helexa.cortex.orchestrator.neurons import MODELS_PER_NEURON_MAX
from helexa.protocol.control import (
    CapabilitiesReport,
    HealthReport,
    Heartbeat,
    ModelReport,
    NeuronMessage,
    ProvisioningResponse,
    Register,
    Shutdown,
)
from helexa.protocol.ids import NeuronId, model_id_problem, neuron_id_problem
from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor

DESCRIPTOR_BYTES_MAX: Final = 16 * 1024
CAPABILITIES_BYTES_MAX: Final = 64 * 1024


def event_of(neuron_id: NeuronId, connection: int, message: NeuronMessage) -> Event | None:
    """Return what a message of a registered neuron means; None for one that means nothing here."""
    match message:
        case Heartbeat():
            return NeuronBeat(
                neuron_id,
                connection,
                message.health,
                message.load,
                message.models,
                message.capabilities_generation,
            )
        case ModelReport():
            return ModelReported(neuron_id, connection, message.status)
        case ProvisioningResponse():
            return CommandAnswered(neuron_id, connection, message)
        case HealthReport():
            return HealthReported(neuron_id, connection, message.health)
        case CapabilitiesReport():
            return CapabilitiesChanged(neuron_id, connection, message.capabilities, message.models)
        case Shutdown():
            return NeuronLeaving(neuron_id, connection, message.reason[:500])
        case _:
            return None


def problem_of(message: NeuronMessage) -> str | None:
    """Say what a message claims that cannot be, or None if it is believable."""
    match message:
        case Register():
            return (
                neuron_id_problem(message.neuron.id)
                or _size_problem("neuron", message.neuron, DESCRIPTOR_BYTES_MAX)
                or _capabilities_problem(message.capabilities)
                or _models_problem(message.models)
            )
        case CapabilitiesReport():
            return _capabilities_problem(message.capabilities) or _models_problem(message.models)
        case Heartbeat():
            return _models_problem(message.models)
        case ModelReport():
            return _models_problem((message.status,))
        case _:
            return None


def _capabilities_problem(capabilities: Capabilities) -> str | None:
    budget = capabilities.memory_budget_bytes
    if budget < 0:
        return f"memory_budget_bytes is {budget}, less than 0"
    return _size_problem("capabilities", capabilities, CAPABILITIES_BYTES_MAX)


def _size_problem(what: str, value: NeuronDescriptor | Capabilities, bytes_max: int) -> str | None:
    """Bound what is kept, shown and written to disk as long as the neuron is remembered."""
    size = len(msgspec.json.encode(value))
    return f"{what} has {size} bytes, more than {bytes_max}" if size > bytes_max else None


def _models_problem(models: Iterable[ModelStatus]) -> str | None:
    statuses = tuple(models)
    if len(statuses) > MODELS_PER_NEURON_MAX:
        return f"{len(statuses)} models are more than {MODELS_PER_NEURON_MAX}"
    for status in statuses:
        problem = model_id_problem(status.model_id)
        if problem is not None:
            return f"model {status.model_id[:128]!r}: {problem}"
        capability = status.capability
        if capability is None:
            continue
        if capability.seats < 1:
            return f"model {status.model_id!r} has {capability.seats} seats, less than 1"
        if capability.memory_bytes is not None and capability.memory_bytes < 0:
            return f"model {status.model_id!r} needs {capability.memory_bytes} bytes"
    return None
