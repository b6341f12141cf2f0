"""A control client at work, for the tests of the control plane."""

import random
from contextlib import asynccontextmanager

from helexa.neuron.control_plane.client import ControlClient, ControlSettings
from helexa.neuron.control_plane.pulse import LinkTimes
from helexa.protocol.control import (
    LoadModel,
    Provisioning,
    UnloadModel,
)
from helexa.util.backoff import Backoff
from helexa.util.clock import SystemClock
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.exchange_log import until
from tests.fakes.neuron_face import FakeNeuron

TIMES = LinkTimes(tick_s=0.01, ping_s=0.05, silence_s=0.4, welcome_s=0.2)


class Neuron:
    """A control client at work, and what became of its tasks."""

    def __init__(self, endpoint, accept=None, **settings):
        self.failures = []
        self.tasks = TaskScope(lambda name, error: self.failures.append((name, error)))
        self.face = FakeNeuron()
        self.metrics = PrometheusMetrics()
        settings = {
            "backoff": Backoff(0.02, 0.1), "hopeless_retry_s": 0.1, "times": TIMES,
            "handshake_s": 1.0, **settings,
        }  # fmt: skip
        self.client = ControlClient(
            settings=ControlSettings(endpoint, **settings),
            face=self.face,
            accept=accept or (lambda stream, head: None),
            tasks=self.tasks,
            clock=SystemClock(),
            entropy=random.Random(1).random,
            nonce=lambda size: random.Random().randbytes(size).hex(),
            metrics=self.metrics,
        )
        self.run = self.tasks.start(self.client.run(), "control client")


@asynccontextmanager
async def neuron_of(endpoint, accept=None, **settings):
    neuron = Neuron(endpoint, accept, **settings)
    yield neuron
    assert not neuron.run.done(), "the client stopped dialling"
    neuron.client.close()
    await until(neuron.run.done, "the client to stop")
    await neuron.tasks.close()
    assert neuron.failures == []


def command(command_id, model_id="m", *, unload=False):
    kind = UnloadModel if unload else LoadModel
    return Provisioning(command_id=command_id, command=kind(model_id=model_id))
