"""The first answer of a model, as `helexa up` asks for it."""

from collections.abc import Iterator

import aiohttp
import pytest

from helexa.cli import up_stack
from helexa.util.errors import HelexaError
from tests.fakes.http_answers import Answer, AnswerServer, answering

CHAT = {"choices": [{"message": {"content": "Hi"}}]}


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with answering() as told:
        yield told


@pytest.mark.parametrize(
    ("capabilities", "route", "answer", "expected"),
    [
        (["chat", "completion"], "/v1/chat/completions", CHAT, ("chat", "Hi")),
        (["completion"], "/v1/completions", {"choices": [{"text": "x"}]}, ("completion", "x")),
        (["embeddings"], "/v1/embeddings", {"data": [{"embedding": [0.5, 1]}]},
         ("embeddings", "2 numbers")),
        ([], "/v1/chat/completions", CHAT, ("chat", "Hi")),
    ],
)  # fmt: skip
async def test_a_model_is_asked_for_what_it_can_do(
    server: AnswerServer, capabilities: list[str], route: str, answer: dict[str, object],
    expected: tuple[str, str],
) -> None:  # fmt: skip
    server["GET /v1/models/m"] = Answer({"capabilities": capabilities})
    server[f"POST {route}"] = Answer(answer)
    async with aiohttp.ClientSession(server.base) as session:
        assert await up_stack._first_answer(session, "m") == expected
    assert server.asked[-1].body["model"] == "m"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer({"error": {"message": "no weights"}}, 503), "m does not answer: no weights"),
        (Answer("oops", 500), "status 500, 'oops'"),
        (Answer({"choices": []}), "status 200"),
    ],
)
async def test_the_gateways_reason_is_told(server: AnswerServer, answer: Answer, said: str) -> None:
    server["GET /v1/models/m"] = Answer({"capabilities": ["chat"]})
    server["POST /v1/chat/completions"] = answer
    async with aiohttp.ClientSession(server.base) as session:
        with pytest.raises(HelexaError) as caught:
            await up_stack._first_answer(session, "m")
    assert said in caught.value.message


async def test_a_model_that_stays_failed_is_given_up_with_the_reason(
    server: AnswerServer,
) -> None:
    server["GET /v1/models/m"] = Answer({"state": "loading"})
    server["POST /v1/chat/completions"] = Answer({"error": {"message": "out of memory"}}, 503)
    async with aiohttp.ClientSession(server.base) as session:
        loaded = up_stack._Loaded(session, "m", failed_for_s=0.0)
        assert not await loaded.holds()
        server["GET /v1/models/m"] = Answer({"state": "failed"})
        assert not await loaded.holds()
        with pytest.raises(HelexaError, match="out of memory"):
            await loaded.holds()
        server["GET /v1/models/m"] = Answer({"state": "loaded"})
        assert await loaded.holds()
