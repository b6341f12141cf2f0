"""A real answer cut after every event of its stream and continued by a real engine, as cortex does.

What a caller has and what follows must be one answer wherever the cut is. On the small model whose
tokens are words, the continuation is compared with one by the very token ids: it may differ from
the uncut answer where that does too, because llama.cpp rounds a token that it reads otherwise than
one that it has just written, and nowhere else.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from helexa.cortex.gateway.resume import (
    Continuation,
    Ending,
    KeptBytes,
    KeptStream,
    continuation,
    read_so_far,
)
from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.interfaces import OutboundCall
from helexa.protocol.inference import Continued, Usage
from helexa.protocol.sse import DONE
from tests.e2e.roles import environment
from tests.e2e.test_real_engine import CHAT, WEIGHTS
from tests.fakes import llama_stream as ls
from tests.fakes.launches import inbound
from tests.fakes.real_engine import EngineSettings, RealEngine, running
from tests.fakes.runnable_model import write_runnable_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
EXACT = {"temperature": 0, "cache_prompt": False, "ignore_eos": True}


@dataclass(frozen=True)
class Told:
    """What one call of the engine became for a caller."""

    data: bytes
    usage: Usage
    finish_reason: str


class Speaker:
    """Speaks to one engine as a neuron does."""

    def __init__(self, engine: RealEngine, session: aiohttp.ClientSession) -> None:
        self._engine = engine
        self._session = session

    async def post(self, path: str, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        url = self._engine.endpoint + path
        async with self._session.post(url, data=body, headers=headers) as answer:
            data = await answer.read()
            assert answer.status == 200, data
            return data

    async def say(self, body: bytes, continues: Continued | None = None) -> Told:
        asked = inbound(body, stream=True, include_usage=True, continues=continues)
        call = LlamaCpp().call(asked)
        assert isinstance(call, OutboundCall)
        out, ending = ls.translate(call.translation, await self.post(call.path, call.body))
        assert ending.failure is None
        assert ending.usage is not None
        return Told(out, ending.usage, ending.finish_reason)

    async def ids(self, prompt: list[int], tokens: int) -> list[int]:
        asked = {"prompt": prompt, "n_predict": tokens, "return_tokens": True, **EXACT}
        told = json.loads(await self.post("/completion", json.dumps(asked).encode()))
        return list(told["tokens"])

    async def tokens_of(self, text: str) -> list[int]:
        asked = {"content": text, "add_special": True, "parse_special": True}
        told = json.loads(await self.post("/tokenize", json.dumps(asked).encode()))
        return list(told["tokens"])


def asked_for(prompt: str, tokens: int, **fields: Any) -> bytes:
    return json.dumps(
        {
            "model": "smol", "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True},
            **EXACT, **fields,
        }
    ).encode()  # fmt: skip


def together(data: bytes) -> list[bytes]:
    """Return a stream's events as they leave: with its count, and the last piece with its finish.

    An engine writes its last piece and its finish at once, so that they leave in one frame.
    """
    events: list[bytes] = []
    for event in data.split(b"\n\n"):
        ends = event.startswith(b"data:") and b'"finish_reason":null' not in event
        if ends or event.startswith(b": tokens "):
            events[-1] += event + b"\n\n"
        elif event:
            events.append(event + b"\n\n")
    return events


async def continued_everywhere(speaker: Speaker, asked: bytes) -> tuple[Told, dict[int, str]]:
    """Return the uncut answer, and the text that each cut led to, by tokens before it."""
    whole = await speaker.say(asked)
    events = together(whole.data.removesuffix(DONE))
    texts: dict[int, str] = {}
    for cut in range(1, len(events)):
        kept = KeptStream(KeptBytes())
        seen = kept.take(b"".join(events[:cut]))
        so_far = read_so_far(kept.parts())
        assert so_far is not None
        step = continuation(asked, so_far, include_usage=True)
        if isinstance(step, Ending):
            total, usage = seen + step.data, step.usage
            assert step.finish_reason == whole.finish_reason
        else:
            assert isinstance(step, Continuation)
            rest = await speaker.say(step.body, step.continued)
            total, usage = seen + rest.data.removesuffix(DONE), rest.usage
            if step.continued is not None:
                usage = step.continued.whole(usage)
            assert rest.finish_reason == whole.finish_reason
        assert usage == whole.usage, cut
        texts[so_far.tokens] = assert_one_stream(total, seen, whole)
    return whole, texts


def assert_one_stream(total: bytes, seen: bytes, whole: Told) -> str:
    chunks = ls.payloads(total)
    assert len({chunk["id"] for chunk in chunks}) == 1
    told = [chunk["usage"] for chunk in chunks if "usage" in chunk]
    assert [each["completion_tokens"] for each in told] == [whole.usage.completion_tokens]
    finishes = [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]]
    assert [reason for reason in finishes if reason] == [whole.finish_reason]
    assert ls.said(total).startswith(ls.said(seen))
    return ls.said(total)


@pytest.mark.parametrize("prompt", ["sun", "é🙂 10"])
async def test_a_stream_of_bytes_that_are_parts_of_characters_is_counted_at_every_cut(
    tmp_path: Path, prompt: str
) -> None:
    """Its tokens are bytes: one chunk may have several, and most of them make no character."""
    model = str(write_runnable_model(tmp_path / "runnable.gguf"))
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        running(EngineSettings(model, context_tokens=2048)) as engine,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        whole, texts = await continued_everywhere(Speaker(engine, session), asked_for(prompt, 48))
    assert whole.usage.completion_tokens == 48
    assert len(texts) > 8


@pytest.fixture(scope="module")
def small_model() -> str:
    """Return the small model's file, fetched by the product once."""
    command = [sys.executable, "-m", "helexa", "pull", CHAT, "--weights-dir", str(WEIGHTS)]
    done = subprocess.run(
        [*command, "-o", "json"], capture_output=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["path"])


async def test_a_continuation_says_what_one_by_token_ids_says(small_model: str) -> None:
    """Characters of three tokens, digits, line ends: the same text gives the same tokens again."""
    prompt, tokens = "Count: 🦄 1, 2.\n\nGo on with 🦄 in front of each line.", 24
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        running(EngineSettings(small_model, context_tokens=2048)) as engine,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        speaker = Speaker(engine, session)
        whole, texts = await continued_everywhere(speaker, asked_for(prompt, tokens))
        system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
        spoken = (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        begin = await speaker.tokens_of(spoken)
        ids = await speaker.ids(begin, tokens)
        differ = {cut for cut, text in texts.items() if text != ls.said(whole.data)}
        by_ids = {
            cut for cut in differ if await speaker.ids(begin + ids[:cut], tokens - cut) != ids[cut:]
        }
    assert whole.usage.prompt_tokens == len(begin)
    assert differ == by_ids
    assert len(texts) > 12


async def test_a_stop_word_ends_an_answer_wherever_it_was_cut_before(small_model: str) -> None:
    """An engine holds back what may be the beginning of one: a caller never has half of it."""
    prompt = "Tell a short story about a fox who lived in 1987."
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        running(EngineSettings(small_model, context_tokens=2048)) as engine,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        speaker = Speaker(engine, session)
        free = ls.said((await speaker.say(asked_for(prompt, 24))).data)
        words = free.split(" ")
        stop = " ".join(words[5:8])
        whole, texts = await continued_everywhere(speaker, asked_for(prompt, 24, stop=[stop]))
    assert whole.finish_reason == "stop"
    assert ls.said(whole.data) == free[: free.index(stop)]
    assert all(stop not in text for text in texts.values())
    assert len(texts) > 3
