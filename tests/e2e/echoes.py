"""Streams from the echo engine, whose every byte is known beforehand, and the judgement of them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psutil

from helexa.model_runtime.echo_text import expected_text
from tests.e2e.polling import eventually
from tests.e2e.stack import Stack, get
from tests.e2e.wire import Answer, Connection, Ending, ask

CHAT = "/v1/chat/completions"
_numbers = itertools.count(1)


def echo(model_id: str = "echo", **options: Any) -> dict[str, Any]:
    """Return the entry of a model that the echo engine serves."""
    return {"id": model_id, "engine": "echo", "options": options}


def body(model: str, tokens: int, *, stream: bool = True, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "go on"}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "stream": stream, **more}


class Streams:
    """Many streamed requests at once, each read to its own end."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._tokens: dict[str, int] = {}
        self.answers: dict[str, Answer] = {}
        self.tasks: dict[str, asyncio.Task[Answer]] = {}

    def start(self, model: str, tokens: int, count: int = 1, **more: Any) -> list[str]:
        """Start `count` requests; return their ids."""
        ids = [f"{model}-{next(_numbers)}" for _ in range(count)]
        for request_id in ids:
            answer = Answer()
            self._tokens[request_id] = tokens
            self.answers[request_id] = answer
            self.tasks[request_id] = asyncio.create_task(
                ask(
                    self._stack.gateway, "POST", CHAT, body(model, tokens, **more),
                    {"x-request-id": request_id}, answer,
                )
            )  # fmt: skip
        return ids

    async def flowing(self, ids: Sequence[str], within_s: float = 20.0) -> None:
        """Wait until each of them has got some text."""
        await eventually(
            lambda: all(b'"content":"' in self.answers[name].body for name in ids),
            f"text in each of {len(ids)} streams",
            within_s,
        )

    async def ended(self, ids: Sequence[str], within_s: float) -> None:
        """Wait until each of them ended, in whatever way."""
        _, pending = await asyncio.wait([self.tasks[name] for name in ids], timeout=within_s)
        assert not pending, f"{len(pending)} of {len(ids)} streams have not ended in {within_s:g} s"

    def text_of(self, request_id: str) -> str:
        return expected_text(request_id, self._tokens[request_id])

    def assert_whole(self, ids: Sequence[str]) -> None:
        """Each came to its end, byte for byte."""
        for name in ids:
            answer = self.answers[name]
            assert (answer.status, answer.ended, answer.done) == (200, Ending.CLEAN, True), (
                f"{name}: {answer.status} {answer.ended} {answer.body[-300:]!r}"
            )
            assert answer.error is None
            assert answer.text == self.text_of(name), f"{name}: not its own text"
            assert answer.finish_reason in {"stop", "length"}

    def assert_broken_and_told(self, ids: Sequence[str]) -> None:
        """None looks finished: right up to the cut, then an error event, and then a cut."""
        for name in ids:
            answer = self.answers[name]
            self.assert_not_mistaken(name)
            assert answer.ended is Ending.CUT, (
                f"{name} ended {answer.ended}: {answer.body[-200:]!r}"
            )
            assert answer.error is not None, f"{name} got no error event: {answer.body[-200:]!r}"

    def assert_not_mistaken(self, name: str) -> None:
        """A stream that is not whole has no mark of an end, and no byte in it is wrong."""
        answer = self.answers[name]
        if answer.ended is Ending.CUT:
            assert not answer.done, f"{name} was cut, and has [DONE]"
            assert answer.finish_reason is None or answer.text == self.text_of(name)
        text = answer.text if answer.status == 200 else ""
        assert self.text_of(name).startswith(text), f"{name}: {text[-80:]!r} is not of its text"

    async def leave(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.wait(list(self.tasks.values()))


@asynccontextmanager
async def streams(stack: Stack) -> AsyncIterator[Streams]:
    """Yield a set of streams; those that still run in the end are left."""
    these = Streams(stack)
    try:
        yield these
    finally:
        if these.tasks:
            await these.leave()


# ── looking into the engine ───────────────────────────────────────────────────────────────────


def engine_of(stack: Stack, model: str, neuron: str | None = None) -> psutil.Process:
    """Return the process that serves an echo model."""
    for name in [neuron] if neuron else stack.neurons:
        if not stack.neurons[name].runs:
            continue
        for pid in stack.engines(name):
            process = psutil.Process(pid)
            command = process.cmdline()
            if "--model-id" in command and command[command.index("--model-id") + 1] == model:
                return process
    raise AssertionError(f"no engine of {model} runs")


def neuron_with(stack: Stack, model: str) -> str:
    """Return the name of the neuron that runs a model."""
    for name in stack.neurons:
        if stack.neurons[name].runs:
            for pid in stack.engines(name):
                if model in psutil.Process(pid).cmdline():
                    return name
    raise AssertionError(f"no neuron runs {model}")


def port_of(engine: psutil.Process) -> int:
    command = engine.cmdline()
    return int(command[command.index("--port") + 1])


def stats(port: int) -> Mapping[str, Any]:
    """Return the echo engine's counts: received, finished, aborted, active, request_ids."""
    status, raw = get(port, "/stats")
    assert status == 200, f"the echo engine's /stats answered {status}"
    found: Mapping[str, Any] = json.loads(raw)
    return found


async def began(stack: Stack, model: str, tokens: int, **more: Any) -> tuple[Connection, str]:
    """Send a request on a connection of its own and do not read; return both."""
    request_id = f"{model}-{next(_numbers)}"
    connection = await Connection.open(stack.gateway)
    raw = json.dumps(body(model, tokens, **more)).encode()
    connection.send("POST", CHAT, raw, {"x-request-id": request_id})
    return connection, request_id
