"""An engine client at work on a scripted server, for the tests of client and connection."""

from contextlib import asynccontextmanager

from helexa.neuron.runtime.engine_client import ClientLimits, EngineClient, EngineRequest
from helexa.neuron.runtime.engine_connection import ConnectionLimits
from helexa.util.tasks import TaskScope
from tests.fakes.engine_server import EngineServer
from tests.fakes.exchange_log import ExchangeLog, until

QUICK = ClientLimits(first_byte_s=0.1, sweep_s=0.02, connection=ConnectionLimits(idle_s=0.1))


@asynccontextmanager
async def client_of(limits=None, tls=None):
    failures = []
    tasks = TaskScope(lambda name, error: failures.append((name, error)))
    client = EngineClient(tasks, limits, tls)
    try:
        yield client
    finally:
        client.close()
        await tasks.close()
        await until(lambda: client.connection_count == 0, "all connections to be closed")
    assert failures == []


def send(client, server, body=b"{}", **more):
    log = ExchangeLog()
    log.exchange = client.request(EngineRequest(server.endpoint, "/v1/x", body, **more), log)
    return log


async def exchange(script, limits=None, **more):
    """One request to a server that plays `script`; returns what the listener was told."""
    async with EngineServer(script) as server, client_of(limits) as client:
        return await send(client, server, **more).ended()


def replies(*pieces):
    async def script(talk):
        await talk.request()
        await talk.send(*pieces)

    return script
