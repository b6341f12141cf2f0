"""Messages become events, and unbelievable ones are found out."""

import msgspec
import pytest

from helexa.cortex.control_plane.inbound import (
    CAPABILITIES_BYTES_MAX,
    DESCRIPTOR_BYTES_MAX,
    event_of,
    problem_of,
)
from helexa.cortex.orchestrator.events import (
    CapabilitiesChanged,
    CommandAnswered,
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
    Shutdown,
)
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from tests.fakes.fleet import CHAT, capabilities, model, register, status

N1 = NeuronId("n1")
ANSWER = ProvisioningResponse(command_id=CommandId("c"), model_id=ModelId("m"), accepted=True)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (Heartbeat(sequence=1, health=NeuronHealth(), load=NeuronLoad()), NeuronBeat),
        (ModelReport(status=status(model())), ModelReported),
        (ANSWER, CommandAnswered),
        (HealthReport(health=NeuronHealth()), HealthReported),
        (CapabilitiesReport(capabilities=capabilities()), CapabilitiesChanged),
        (Shutdown(reason="x"), NeuronLeaving),
    ],
)
def test_each_message_is_its_event(message: NeuronMessage, kind: type) -> None:
    event = event_of(N1, 7, message)
    assert isinstance(event, kind)
    assert (event.neuron_id, event.connection) == ("n1", 7)  # type: ignore[union-attr]
    assert problem_of(message) is None


def test_a_heartbeat_tells_which_capabilities_are_the_newest() -> None:
    beat = Heartbeat(
        sequence=1, health=NeuronHealth(), load=NeuronLoad(), capabilities_generation=3
    )
    event = event_of(N1, 7, beat)
    assert isinstance(event, NeuronBeat)
    assert event.capabilities_generation == 3


def test_a_register_is_no_event_of_a_registered_neuron() -> None:
    assert event_of(N1, 7, register("n1")) is None


def with_capability(**fields: object) -> ModelStatus:
    return status(model(), capability=msgspec.structs.replace(CHAT, **fields))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (register("../etc"), "neuron id"),
        (register("n1", budget_bytes=-1), "memory_budget_bytes"),
        (ModelReport(status=status(model("a/../b"))), "model id"),
        (ModelReport(status=with_capability(seats=0)), "seats"),
        (ModelReport(status=with_capability(memory_bytes=-5)), "-5 bytes"),
        (
            Heartbeat(
                sequence=1, health=NeuronHealth(), load=NeuronLoad(),
                models=(status(model()),) * (MODELS_PER_NEURON_MAX + 1),
            ),
            "more than",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_found(message: NeuronMessage, told: str) -> None:
    problem = problem_of(message)
    assert problem is not None
    assert told in problem


def test_who_a_neuron_is_and_what_it_has_is_said_in_a_bounded_length() -> None:
    """It is kept, shown and written to disk as long as the neuron is remembered."""
    plain = register("n1")
    large = msgspec.structs.replace(plain.neuron, hostname="x" * DESCRIPTOR_BYTES_MAX)
    engines = tuple(f"engine-{number}" for number in range(CAPABILITIES_BYTES_MAX // 8))
    able = msgspec.structs.replace(plain.capabilities, engines=engines)
    for message in (
        msgspec.structs.replace(plain, neuron=large),
        msgspec.structs.replace(plain, capabilities=able),
        CapabilitiesReport(capabilities=able),
    ):
        assert "bytes, more than" in (problem_of(message) or "")
