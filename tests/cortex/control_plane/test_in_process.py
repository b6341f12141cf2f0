"""R1.34: a second carrier, without a wire; the loop above it is the very same."""

from typing import Any

from helexa.cortex.control_plane.dispatch import Dispatcher
from helexa.cortex.control_plane.in_process import InProcessLink
from helexa.cortex.control_plane.links import Links
from helexa.cortex.control_plane.loop import ControlLoop
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.protocol.control import Provisioning, ProvisioningCommand, ProvisioningResponse
from helexa.protocol.ids import CommandId, NeuronId
from helexa.util.clock import SystemClock
from helexa.util.metrics import NoMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.control_plane import recording_logger, turns
from tests.fakes.fleet import model
from tests.fakes.neuron_model import ModelNeuron
from tests.fakes.waiting import until


class ModelControl:
    """A `NeuronControl` over the pure neuron model."""

    def __init__(self, neuron: ModelNeuron) -> None:
        self.neuron = neuron
        self.say: Any = None

    async def provision(
        self, command_id: CommandId, command: ProvisioningCommand, cause: str
    ) -> ProvisioningResponse:
        self.neuron.receive(Provisioning(command_id=command_id, command=command, cause=cause), 0.0)
        self.neuron.pass_time(1e9)
        answer = None
        for message in self.neuron.take():
            if isinstance(message, ProvisioningResponse):
                answer = message
            else:
                self.say(message)
        assert answer is not None
        return answer


async def test_a_neuron_in_this_process_is_provisioned_like_any_other() -> None:
    """R1.8, R1.34."""
    log: list[dict[str, Any]] = []
    clock = SystemClock()
    logger = recording_logger(log)
    links = Links()
    loop = ControlLoop(
        FleetPolicy(), command_prefix="c", monotonic=clock.monotonic, local=clock.local,
        metrics=NoMetrics(), logger=logger,
    )  # fmt: skip
    dispatcher = Dispatcher(links, loop.report, logger, cortex_id="c", heartbeat_interval_s=5.0)
    loop.connect(dispatcher.carry_out, dispatcher.answered, list)
    tasks = TaskScope(lambda name, error: log.append({"level": "error", "event": str(error)}))
    neuron = ModelNeuron("n1", load_s=0.0)
    control = ModelControl(neuron)
    link = InProcessLink(links, loop.report, control, tasks, monotonic=clock.monotonic)
    control.say = link.say
    loop.report(DesiredChanged(models=(model("m"),), cause="test"))
    link.register(neuron.register())
    await until(lambda: _served(loop), "the model is loaded and routable")
    assert link.welcomed
    assert neuron.loads_started == ["m"]
    assert [line for line in log if line["level"] == "error"] == []

    link.close(1001, "gone")
    await turns()
    assert loop.snapshot().neurons[NeuronId("n1")].state == "gone"
    assert not link.send(Provisioning(command_id=CommandId("x"), command=None))  # type: ignore[arg-type]
    await tasks.close()
    loop.close()


def _served(loop: ControlLoop) -> bool:
    view = loop.snapshot().models.get("m")
    return view is not None and bool(view.replicas)
