"""Commands become effects, or errors that somebody hears of."""

from typing import Any

import pytest

from helexa.cortex.control_plane.dispatch import Dispatcher
from helexa.cortex.control_plane.links import Links
from helexa.cortex.orchestrator.commands import (
    AcceptNeuron,
    AskCapabilities,
    CloseConnection,
    Provision,
    Remark,
)
from helexa.cortex.orchestrator.events import CommandUndelivered, Event
from helexa.protocol.control import (
    LoadModel,
    Provisioning,
    ProvisioningResponse,
    RequestCapabilities,
    ShutdownNotice,
    UpsertModelConfig,
)
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.util.errors import NotFoundError, TimedOutError, UnreachableError
from helexa.util.tasks import TaskScope
from tests.fakes.control_plane import control_plane, dial, recording_logger, turns
from tests.fakes.fleet import model, register
from tests.fakes.link import FakeLink
from tests.fakes.waiting import until

N1, M = NeuronId("n1"), ModelId("m")


class Bench:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.log: list[dict[str, Any]] = []
        self.links = Links()
        self.dispatcher = Dispatcher(
            self.links,
            self.events.append,
            recording_logger(self.log),
            cortex_id="c-1",
            heartbeat_interval_s=5.0,
        )


def load(connection: int) -> Provision:
    return Provision(N1, M, LoadModel(model_id=M), "test", CommandId("c-1-1"), connection)


def test_a_command_goes_to_its_connection_with_its_id_and_cause() -> None:
    bench = Bench()
    link = FakeLink()
    bench.dispatcher.carry_out([load(bench.links.add(link))])
    assert link.sent == [
        Provisioning(command_id=CommandId("c-1-1"), command=LoadModel(model_id=M), cause="test")
    ]
    assert bench.log[0]["event"] == "provisioning_sent"
    assert (bench.log[0]["neuron_id"], bench.log[0]["model_id"]) == ("n1", "m"), "R1.40"


def test_a_neuron_is_asked_for_its_capabilities_if_it_is_still_there() -> None:
    bench = Bench()
    link = FakeLink()
    number = bench.links.add(link)
    bench.dispatcher.carry_out([AskCapabilities(number, N1), AskCapabilities(number + 1, N1)])
    assert link.sent == [RequestCapabilities()]
    assert bench.events == [], "the next heartbeat has it asked again"


@pytest.mark.parametrize("gone", [True, False])
def test_what_cannot_be_sent_is_an_event_and_not_queued(gone: bool) -> None:
    """R1.27: one outbound sender per neuron; a gone neuron is an error."""
    bench = Bench()
    link = FakeLink(takes=False)
    number = bench.links.add(link)
    if gone:
        bench.links.drop(number)
    bench.dispatcher.carry_out([load(number)])
    (event,) = bench.events
    assert isinstance(event, CommandUndelivered)
    assert event.command_id == "c-1-1"
    assert link.sent == []


def test_an_accepted_neuron_is_welcomed_and_becomes_current() -> None:
    bench = Bench()
    link = FakeLink()
    number = bench.links.add(link)
    bench.dispatcher.carry_out([AcceptNeuron(number, N1)])
    assert link.welcomed == ("c-1", 5.0)
    assert bench.links.connection_of(N1) == number


def test_a_connection_is_closed_with_code_and_reason() -> None:
    bench = Bench()
    link = FakeLink()
    number = bench.links.add(link)
    bench.dispatcher.carry_out([CloseConnection(number, 4409, "taken"), CloseConnection(99, 1, "")])
    assert link.closed == (4409, "taken")


def test_remarks_are_logged_with_their_level_and_subject() -> None:
    bench = Bench()
    bench.dispatcher.carry_out([Remark("model_failed", "warning", N1, M, "exit 1")])
    assert bench.log == [
        {
            "level": "warning", "event": "model_failed", "neuron_id": "n1", "model_id": "m",
            "because": "exit 1",
        }
    ]  # fmt: skip


def test_goodbye_reaches_every_neuron() -> None:
    bench = Bench()
    link = FakeLink()
    bench.dispatcher.carry_out([AcceptNeuron(bench.links.add(link), N1)])
    bench.dispatcher.say_goodbye("restart", 0.5)
    assert link.sent == [ShutdownNotice(reason="restart", reconnect_after_s=0.5)]


async def test_a_command_by_hand_returns_the_neurons_answer() -> None:
    """R1.28: over a real websocket, from outside the loop."""
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        await neuron.welcome()
        answers: list[ProvisioningResponse] = []
        tasks = TaskScope(lambda name, error: pytest.fail(f"{name}: {error}"))

        async def ask() -> None:
            command = UpsertModelConfig(config=model())
            answers.append(
                await plane.dispatcher.send_provisioning_to_neuron(N1, command, cause="by hand")
            )

        tasks.start(ask(), "ask")
        await until(lambda: neuron.of(Provisioning), "the command arrives")
        sent = neuron.of(Provisioning)[0]
        assert sent.cause == "by hand"
        neuron.say(
            ProvisioningResponse(
                command_id=sent.command_id, model_id=M, accepted=False, because="no"
            )
        )
        await until(lambda: answers, "the answer is returned")
        assert answers[0].because == "no"


async def test_a_command_by_hand_to_nobody_fails_at_once() -> None:
    """R1.27, R1.28."""
    bench = Bench()
    with pytest.raises(NotFoundError, match="n1"):
        await bench.dispatcher.send_provisioning_to_neuron(N1, LoadModel(model_id=M))


async def test_a_command_by_hand_to_a_neuron_that_takes_nothing_fails_at_once() -> None:
    bench = Bench()
    bench.dispatcher.carry_out([AcceptNeuron(bench.links.add(FakeLink(takes=False)), N1)])
    with pytest.raises(UnreachableError):
        await bench.dispatcher.send_provisioning_to_neuron(N1, LoadModel(model_id=M))


async def test_a_command_by_hand_does_not_wait_for_ever() -> None:
    bench = Bench()
    bench.dispatcher.carry_out([AcceptNeuron(bench.links.add(FakeLink()), N1)])
    with pytest.raises(TimedOutError):
        await bench.dispatcher.send_provisioning_to_neuron(
            N1, LoadModel(model_id=M), timeout_s=0.01
        )
    await turns()
