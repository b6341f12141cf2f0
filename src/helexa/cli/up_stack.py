"""The running stack of `helexa up`: two processes under guards, and the first token from them."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from helexa.cli.progress import progress_display, size_text
from helexa.cli.up_log import LoggedOutput
from helexa.cli.up_plan import UpPlan, write_settings
from helexa.cli.up_words import Steps
from helexa.cli.weights import spawner_for, store_for
from helexa.config.load import process_environment
from helexa.model_runtime.models.source import PathSource, parse
from helexa.model_runtime.models.store import ModelStore
from helexa.neuron.process.guarded import GuardedProcess
from helexa.util.errors import HelexaError, TimedOutError

POLL_S: Final = 0.05
ANSWER_TIMEOUT_S: Final = 60.0
STARTED_WITHIN_S: Final = 30.0
FAILED_FOR_S: Final = 10.0
"""A model whose state stays "failed" this long will not come up by waiting."""
STOP_MARGIN_S: Final = 5.0
PORTS_FREE_WITHIN_S: Final = 5.0
TAIL_LINES: Final = 12
_FETCHED_HERE: Final = frozenset({"llamacpp"})


@dataclass(frozen=True, slots=True)
class Service:
    """One running role."""

    name: str
    process: GuardedProcess
    output: LoggedOutput
    drain_s: float

    def died(self) -> HelexaError:
        """Return the error that tells how it ended, with its last lines."""
        last = "\n".join(f"  {self.name} | {line}" for line in self.output.tail(TAIL_LINES))
        return HelexaError(
            f"the {self.name} ended by itself; its last lines:\n{last}", error_id="HX-0605",
            hint="--verbose shows all that the two processes log",
        )  # fmt: skip


class Stack:
    """A cortex and a neuron on this machine, from their start to their end."""

    def __init__(self, plan: UpPlan, steps: Steps, *, verbose: bool) -> None:
        self._plan = plan
        self._steps = steps
        self._verbose = verbose
        self._spawner = spawner_for(plan.neuron)
        self._services: list[Service] = []
        self.first_token_s = 0.0

    async def bring_up(self, *, after_crash: bool) -> dict[str, str]:
        """Start everything; return what each model was tried with, once all have answered.

        `after_crash`: what a predecessor left may still hold its ports for a moment.
        """
        await self._fetch_weights()
        await self._wait_for_ports(PORTS_FREE_WITHIN_S if after_crash else 0.0)
        cortex_file, neuron_file = write_settings(self._plan)
        headers = {}
        if self._plan.api_key is not None:
            headers["authorization"] = f"Bearer {self._plan.api_key}"
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        # The certificate names the public host, and this is our own process on this machine.
        connector = aiohttp.TCPConnector(ssl=False)
        async with aiohttp.ClientSession(
            self._plan.gateway_url, headers=headers, timeout=timeout, connector=connector
        ) as session:
            with self._steps.step("starting cortex"):
                await self._start("cortex", str(cortex_file), self._plan.cortex.shutdown.drain_s)
                await self._until(lambda: _answers(session, "/health"), STARTED_WITHIN_S, "cortex")
            with self._steps.step("starting neuron"):
                await self._start("neuron", str(neuron_file), self._plan.neuron.timeouts.drain_s)
            return {model: await self._try(session, model) for model in self._plan.model_ids}

    async def watch(self) -> None:
        """Wait until a process ends, which it should not; raises the error that tells how."""
        while True:
            self._require_alive()
            await asyncio.sleep(4 * POLL_S)

    async def stop(self, *, at_once: Callable[[], bool]) -> None:
        """End both processes and all that is below them: cortex first, since it drains."""
        for service in self._services:
            if not service.process.has_ended:
                service.process.ask_to_stop(0.0 if at_once() else service.drain_s + STOP_MARGIN_S)
            while not service.process.has_ended:
                if at_once():
                    await service.process.stop(0.0)
                await asyncio.sleep(POLL_S)
            await service.process.wait()
            service.output.close()

    # ── steps ─────────────────────────────────────────────────────────────────────────────────

    async def _fetch_weights(self) -> None:
        store = store_for(self._plan.neuron, self._spawner)
        for model in self._plan.cortex.model_configs():
            if model.engine not in _FETCHED_HERE or model.source is None:
                continue
            if not isinstance(parse(model.source), PathSource):
                store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with self._steps.step(f"weights of {model.id}") as remarks:
                    remarks.append(await _fetch(store, model.id, model.source))

    async def _wait_for_ports(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while True:
            try:
                self._plan.require_free_ports()
            except HelexaError:
                if loop.time() >= deadline_s:
                    raise
                await asyncio.sleep(4 * POLL_S)
            else:
                return

    async def _start(self, name: str, settings_file: str, drain_s: float) -> None:
        output = LoggedOutput(self._plan.folder / f"{name}.log", mirror=self._verbose)
        argv = (sys.executable, "-m", "helexa", name, "--config", settings_file)
        process = await self._spawner.start_service(argv, process_environment(), Path.cwd(), output)
        self._services.append(Service(name, process, output, drain_s))

    async def _until(
        self, holds: Callable[[], Awaitable[bool]], within_s: float, what: str
    ) -> None:
        """Wait until `holds`; raises TimedOutError, or the error of a process that died."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while not await holds():
            self._require_alive()
            if loop.time() >= deadline_s:
                raise TimedOutError(
                    f"{what} was not ready within {within_s:g} s", error_id="HX-0606",
                    hint=f"its log is in {self._plan.folder}",
                )  # fmt: skip
            await asyncio.sleep(POLL_S)

    def _require_alive(self) -> None:
        for service in self._services:
            if service.process.has_ended:
                raise service.died()

    async def _try(self, session: aiohttp.ClientSession, model: str) -> str:
        """Wait for a model and get one token from it; return what it was tried with."""
        with self._steps.step(f"loading {model}"):
            await self._until(
                _Loaded(session, model).holds, self._plan.neuron.timeouts.load_s, model
            )
        with self._steps.step(f"first answer of {model}") as remarks:
            use, tokens = await _first_answer(session, model)
            remarks.append(use if not tokens else f"{use}: {tokens!r}")
        if not self.first_token_s:
            self.first_token_s = self._steps.elapsed_s
        return use


async def _fetch(store: ModelStore, name: str, source: str) -> str:
    """Fetch weights unless they are held; return a remark about them."""
    phases: set[str] = set()
    with progress_display(name) as display:

        def progress(phase: str, done_bytes: int, total_bytes: int | None) -> None:
            phases.add(phase)
            display(phase, done_bytes, total_bytes)

        weights = await store.resolve(source, progress)
    size_bytes = (await asyncio.to_thread(weights.path.stat)).st_size
    return size_text(size_bytes) + ("" if "download" in phases else ", held already")


async def _answers(session: aiohttp.ClientSession, path: str) -> bool:
    try:
        async with session.get(path) as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


class _Loaded:
    """Asks whether a model is loaded; gives up when it stays failed."""

    def __init__(
        self, session: aiohttp.ClientSession, model: str, failed_for_s: float = FAILED_FOR_S
    ) -> None:
        self._session = session
        self._model = model
        self._failed_for_s = failed_for_s
        self._failed_since_s: float | None = None

    async def holds(self) -> bool:
        """Tell whether the model is loaded; raises HelexaError where it will not be."""
        async with self._session.get(f"/v1/models/{self._model}") as answer:
            entry = await answer.json() if answer.status == 200 else {}
        now_s = asyncio.get_running_loop().time()
        if entry.get("state") != "failed":
            self._failed_since_s = None
        elif self._failed_since_s is None:
            self._failed_since_s = now_s
        elif now_s - self._failed_since_s >= self._failed_for_s:
            await _first_answer(self._session, self._model)
        return entry.get("state") == "loaded"


async def _first_answer(session: aiohttp.ClientSession, model: str) -> tuple[str, str]:
    """Ask a model for one token; return what it was asked for, and the token.

    Raises HelexaError with the gateway's reason.
    """
    async with session.get(f"/v1/models/{model}") as answer:
        uses = (await answer.json()).get("capabilities", []) if answer.status == 200 else []
    use = next((name for name in ("chat", "completion", "embeddings") if name in uses), "chat")
    path, body = _REQUESTS[use]
    async with session.post(path, json={"model": model, **body}) as answer:
        text = await answer.text()
    try:
        told: dict[str, Any] = json.loads(text)
        if answer.status == 200:
            return use, _token(use, told)
        reason = told["error"]["message"]
    except (ValueError, KeyError, TypeError, IndexError):
        reason = f"status {answer.status}, {text[:200]!r}"
    raise HelexaError(
        f"{model} does not answer: {reason}", error_id="HX-0607",
        hint="helexa up --verbose shows what the engine says",
    )  # fmt: skip


_REQUESTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1},
    ),
    "completion": ("/v1/completions", {"prompt": "Hello", "max_tokens": 1}),
    "embeddings": ("/v1/embeddings", {"input": "Hello"}),
}


def _token(use: str, answer: dict[str, Any]) -> str:
    if use == "chat":
        return str(answer["choices"][0]["message"].get("content") or "")
    if use == "completion":
        return str(answer["choices"][0]["text"])
    return f"{len(answer['data'][0]['embedding'])} numbers"
