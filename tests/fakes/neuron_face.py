"""A neuron as its control plane sees it, without any engine."""

import asyncio

from helexa.protocol.control import ProvisioningResponse, UpsertModelConfig
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig, ModelStatus
from helexa.protocol.neuron import (
    Capabilities,
    HardwareReport,
    NeuronDescriptor,
    NeuronHealth,
    NeuronLoad,
)

HARDWARE = HardwareReport(cpu_count=2, memory_total_bytes=1 << 30, memory_available_bytes=1 << 29)
CONFIG = ModelConfig(id="m", engine="echo")
STATUS = ModelStatus(model_id="m", state=ModelState.LOADED, config_digest=CONFIG.digest())


class FakeNeuron:
    """Answers every command; `gates` holds commands back until a test lets them go."""

    def __init__(self, node_id="n1"):
        self.descriptor = NeuronDescriptor(id=node_id, epoch=7, hostname="host")
        self.models = (STATUS,)
        self.problems = ()
        self.began = []
        self.done = []
        self.gates = {}
        self.capabilities_asked = 0

    async def capabilities(self):
        self.capabilities_asked += 1
        await asyncio.sleep(0)
        return Capabilities(hardware=HARDWARE, engines=("echo",), memory_budget_bytes=1 << 29)

    def statuses(self, *, with_config=False):
        assert isinstance(with_config, bool)
        return self.models

    def health(self):
        return NeuronHealth(problems=self.problems)

    def load(self):
        return NeuronLoad(active_requests=1)

    async def provision(self, command_id, command, cause):
        self.began.append(command_id)
        if command_id in self.gates:
            await self.gates[command_id].wait()
        if command_id == "bug":
            raise RuntimeError("a bug")
        self.done.append(command_id)
        upsert = isinstance(command, UpsertModelConfig)
        model_id = command.config.id if upsert else command.model_id
        return ProvisioningResponse(command_id=command_id, model_id=model_id, accepted=True)
