"""The packaged llama.cpp server as a real process, with the fewest settings that a test needs."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import aiohttp
import psutil

_PROGRAM = """
import json, sys
import xllamacpp as engine

wanted = json.loads(sys.argv[1])
params = engine.CommonParams()
params.model.path = wanted["model"]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = wanted["context_tokens"]
params.n_batch = max(512, wanted["batch_tokens"])
params.n_ubatch = wanted["batch_tokens"]
params.n_parallel = 4
params.kv_unified = True
params.cache_ram_mib = 0
params.cpuparams.n_threads = 1
kinds = {kind.name.removeprefix("GGML_TYPE_").lower(): kind for kind in engine.ggml_type}
params.cache_type_k = params.cache_type_v = kinds[wanted["cache_type"]]
if wanted["embedding"]:
    params.embedding = True
server = engine.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class EngineSettings:
    model: str
    context_tokens: int
    batch_tokens: int = 512
    cache_type: str = "f16"
    embedding: bool = False


class RealEngine:
    """A running server."""

    def __init__(self, endpoint: str, process_id: int) -> None:
        self.endpoint = endpoint
        self._process = psutil.Process(process_id)

    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    async def post(self, path: str, body: object) -> dict:  # type: ignore[type-arg]
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.endpoint + path, json=body) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def embed(self, texts: list[str]) -> list[list[float]]:
        answer = await self.post("/v1/embeddings", {"input": texts})
        return [row["embedding"] for row in answer["data"]]


@asynccontextmanager
async def running(settings: EngineSettings) -> AsyncIterator[RealEngine]:
    """Start a server that has loaded its model; it ends with the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, json.dumps(asdict(settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, "the engine did not start"
        yield RealEngine(line.decode().strip(), process.pid)
    finally:
        process.kill()
        await process.wait()
