"""A neuron's description of itself."""

import msgspec

from helexa.protocol.ids import NeuronId
from helexa.protocol.neuron import Capabilities, HardwareReport, NeuronDescriptor


def test_a_descriptor_and_its_capabilities_round_trip() -> None:
    """R0.17: there is one NeuronDescriptor."""
    descriptor = NeuronDescriptor(id=NeuronId("n"), epoch=1, labels={"rack": "2"})
    hardware = HardwareReport(cpu_count=2, memory_total_bytes=10, memory_available_bytes=5)
    capabilities = Capabilities(hardware=hardware, engines=("echo",), memory_budget_bytes=4)
    for value in (descriptor, capabilities):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
