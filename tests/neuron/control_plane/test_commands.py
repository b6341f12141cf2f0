"""Provisioning commands: in order per model, side by side between models, answered once."""

import asyncio

import pytest

from helexa.protocol.control import (
    CapabilitiesReport,
    ProvisioningResponse,
    RequestCapabilities,
)
from tests.fakes.control_neuron import command, neuron_of
from tests.fakes.cortex_server import CortexServer
from tests.fakes.exchange_log import until


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


async def test_a_command_is_applied_and_answered():
    """R1.20, R1.8: Provisioning reaches NeuronControl and is answered."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.say(command("c1"))
        await until(lambda: session.of(ProvisioningResponse), "the answer")
        (response,) = session.of(ProvisioningResponse)
        assert (response.command_id, response.model_id, response.accepted) == ("c1", "m", True)
        assert neuron.face.done == ["c1"]


async def test_commands_of_one_model_keep_their_order_and_models_do_not_wait_for_each_other():
    """F15 of the earlier designs: one slow command delays nothing but its own model."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        gate = neuron.face.gates["a1"] = asyncio.Event()
        session = await cortex.welcomed()
        for message in (command("a1", "a"), command("a2", "a", unload=True), command("b1", "b")):
            session.say(message)
        await until(lambda: "b1" in neuron.face.done, "the other model's command")
        assert neuron.face.began == ["a1", "b1"]
        session.say(RequestCapabilities())
        await until(lambda: session.of(CapabilitiesReport), "an answer meanwhile")
        gate.set()
        await until(lambda: neuron.face.done[1:] == ["a1", "a2"], "the rest, in order")


async def test_a_command_that_meets_a_bug_is_answered_and_the_next_one_is_tried():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.say(command("bug"))
        session.say(command("c2"))
        await until(lambda: len(session.of(ProvisioningResponse)) == 2, "both answers")
        assert [r.accepted for r in session.of(ProvisioningResponse)] == [False, True]
        assert neuron.face.done == ["c2"]


async def test_a_command_outlives_its_connection():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        gate = neuron.face.gates["c1"] = asyncio.Event()
        session = await cortex.welcomed()
        session.say(command("c1"))
        await until(lambda: neuron.face.began, "the command to begin")
        session.transport.disconnect(graceful=False)
        second = await cortex.welcomed(2)
        gate.set()
        await until(lambda: neuron.face.done == ["c1"], "the command to be done")
        assert second.of(ProvisioningResponse) == []
