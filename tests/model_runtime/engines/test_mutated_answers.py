"""F07: ten thousand mutated answers: nothing raises, nothing grows, nothing looks finished."""

import random

import pytest

from helexa.model_runtime.engines.aggregate import AggregateTranslation
from helexa.model_runtime.engines.passthrough import PassThrough
from helexa.model_runtime.engines.stream import AnswerPlan, StreamTranslation
from helexa.model_runtime.engines.whole import WholeTranslation
from tests.fakes import llama_stream as ls

ANSWER = (
    ls.progress(512, time_ms=3000)
    + ls.role()
    + ls.delta(content="Hi 🙂", logprobs=["Hi"])
    + ls.delta(reasoning_content="hm")
    + ls.delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}])
    + ls.delta(content=" there")
    + ls.finish()
    + ls.DONE
)
TEXT = (
    ls.text(" a", logprobs={"content": [{"token": " a", "logprob": -1.0}]})
    + ls.text("", reason="stop", timings=ls.timings())
    + ls.DONE
)
VECTORS = b'{"data":[{"embedding":[0.5,0.25],"index":0}],"usage":{"prompt_tokens":3}}'
PREFIX = "a prefix " * 30
MAKERS = {
    "stream": (lambda: StreamTranslation(AnswerPlan(chat=True, include_usage=True)), ANSWER),
    "prefill": (lambda: StreamTranslation(AnswerPlan(chat=True, prefix=PREFIX)), ANSWER),
    "completion": (
        lambda: StreamTranslation(AnswerPlan(chat=False, legacy_logprobs=True)),
        TEXT,
    ),
    "aggregate": (lambda: AggregateTranslation(AnswerPlan(chat=True)), ANSWER),
    "whole": (WholeTranslation, VECTORS),
    "passthrough": (PassThrough, ANSWER),
}
TOKENS = [
    b"null", b"true", b"-1", b"1e999", b"9" * 400, b'"x"', b"{}", b"[]", b"\xff\xfe", b"\x00",
    b"\r\n", b"\n\n", b"data: ", b"[DONE]", b'"index":', b'"usage":', b'"error":', b"\\ud800",
    b"[" * 2000, b"{" * 50, b'{"choices":[{"index":0,"delta":{"content":"x"}}]}', b":", b"",
]  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(out) + 1)
        length = chance.choice((0, 1, 1, 4, 40, 400))
        out[at : at + length] = chance.choice(TOKENS)
    return bytes(out)


@pytest.mark.parametrize("kind", MAKERS)
def test_mutated_answers_never_raise_and_stay_bounded(kind):
    make, answer = MAKERS[kind]
    chance = random.Random(f"helexa-{kind}")
    for _ in range(10_000 // len(MAKERS) + 1):
        data = mutated(answer, chance)
        complete = chance.random() < 0.8
        status = 200 if chance.random() < 0.9 else chance.choice((400, 500, 503))
        translation = make()
        out, ending = ls.translate(
            translation, data, complete=complete, status=status, size=chance.choice((7, 100, 9999))
        )
        assert len(out) <= 2 * len(data) + 4096
        if ending.failure is not None and kind != "passthrough":
            assert not out.endswith(ls.DONE)
        if kind in ("stream", "prefill", "completion") and out.endswith(ls.DONE):
            assert b'"finish_reason"' in out
        assert translation.failure == ending.failure
        assert ending.failure is not None or translation.head is not None
