"""A neuron's request side, whole, on a scripted engine."""

from contextlib import asynccontextmanager

from helexa.neuron.runtime.engine_client import ClientLimits, EngineClient
from helexa.neuron.runtime.executor import Executor
from helexa.neuron.runtime.limits import ExecutorLimits
from helexa.util.clock import SystemClock
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.engine_server import EngineServer, chunk, chunked_head
from tests.fakes.exchange_log import until
from tests.fakes.plain_engine import FakeModels, FakeSeats, PlainEngine
from tests.fakes.tunnel_pair import TunnelPair

DONE = b"data: [DONE]\n\n"


class World:
    """A neuron's request side, whole, with one engine."""

    def __init__(self, server, *, limits=None, client_limits=None, seats=64, spawns=True):
        self.server = server
        self.task_failures = []
        self.tasks = TaskScope(lambda name, error: self.task_failures.append((name, error)))
        self.client = EngineClient(self.tasks, client_limits or ClientLimits(sweep_s=0.02))
        self.models = FakeModels()
        self.seats = FakeSeats(seats)
        self.metrics = PrometheusMetrics()
        self.engine = PlainEngine(spawns)
        self.executor = Executor(
            models=self.models,
            seats=self.seats,
            engines={"plain": self.engine},
            client=self.client,
            clock=SystemClock(),
            metrics=self.metrics,
            limits=limits or ExecutorLimits(sweep_s=0.02),
        )
        self.pair = TunnelPair(self.executor.accept)
        self.open = self.pair.open
        if server is not None:
            self.models.serve(server.endpoint)

    async def close(self):
        """Every test ends here: nothing may be held by anything that is over."""
        await until(lambda: not len(self.executor), "every request to end")
        assert self.seats.admission.active == 0
        assert self.seats.admission.waiting == 0
        assert self.executor._services.bodies._left == self.executor._limits.bodies_bytes_max
        assert not self.executor._services.client._tasks
        self.client.close()
        await self.tasks.close()
        assert self.pair.faults == []
        assert self.task_failures == []


@asynccontextmanager
async def world(script, **options):
    async with EngineServer(script) as server:
        made = World(server, **options)
        yield made
        await made.close()


def replies(*pieces):
    async def script(talk):
        while True:
            await talk.request()
            await talk.send(*pieces)

    return script


def once(*pieces):
    async def script(talk):
        await talk.request()
        await talk.send(*pieces)

    return script


async def hangs(talk):
    await talk.request()
    await talk.send(chunked_head(), chunk(b"data: token\n\n"))
    await talk.gone()
