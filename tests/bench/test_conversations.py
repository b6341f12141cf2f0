"""The conversations of the bench: the same for every strategy, growing, counted as told."""

import asyncio
import json
import socket
from typing import Any

from aiohttp import web

from bench.conversations import Answer, Plan, Talk, Tally, count, hold


async def held(plan: Plan) -> tuple[list[dict[str, Any]], Tally]:
    """Hold the conversations with a server that caches all but ten tokens of each prompt."""
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        bodies.append(body)
        route = f"n1;reason={'prefix' if len(body['messages']) > 2 else 'spill'};eligible=4"
        response = web.StreamResponse(headers={"x-helexa-route": route})
        await response.prepare(request)
        details = {"cached_tokens": 90}
        usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}
        bodies[-1]["session"] = request.headers.get("x-session-id")
        for chunk in (
            {"choices": [{"delta": {"role": "assistant"}}]},
            {"choices": [{"delta": {"content": "yes"}}]},
            {"choices": [], "usage": usage},
        ):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        await web.SockSite(runner, listener).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with asyncio.timeout(60):
            return bodies, await hold(plan, url, "m")
    finally:
        await runner.cleanup()


async def test_conversations_grow_and_what_is_cached_is_not_computed() -> None:
    plan = Plan(conversations=3, turns=2, words_per_turn=5)
    bodies, tally = await held(plan)
    alone = bodies.pop()
    assert alone["messages"] == bodies[0]["messages"][:1]
    assert sorted(len(body["messages"]) for body in bodies) == [2, 2, 2, 4, 4, 4]
    assert all(body["messages"][0] == bodies[0]["messages"][0] for body in bodies)
    assert {body["session"] for body in bodies} == {None}
    assert (tally.prompt_tokens, tally.computed_tokens, tally.system_tokens) == (600, 60, 100)
    assert len(tally.first_token_s) == 6
    assert tally.reasons == {"prefix": 3, "spill": 3}


async def test_a_conversation_names_itself_where_it_is_told_to() -> None:
    bodies, _ = await held(Plan(conversations=2, turns=2, words_per_turn=5, tells_session=True))
    assert len({body["session"] for body in bodies[:2]}) == 2
    assert {body["session"] for body in bodies[:2]} == {body["session"] for body in bodies[2:4]}


def test_what_is_read_again_is_told_by_why() -> None:
    tally, talk = Tally(), Talk("c", [])
    for neuron, prompt, cached in (
        ("n1", 100, 20),  # the first turn: all of it is new, 20 are a common beginning
        ("n1", 150, 110),  # 40 are new
        ("n1", 200, 60),  # 40 are new, 100 were forgotten
        ("n2", 250, 20),  # 40 are new, 190 were never there
    ):
        answer = Answer(neuron, "prefix", "yes", 0.1, prompt, 10, cached)
        count(tally, talk, answer)
    assert (tally.fresh_tokens, tally.forgotten_tokens) == (220, 100)
    assert (tally.moved, tally.moved_tokens) == (1, 190)
    assert tally.computed_tokens == 220 + 100 + 190 - 20
    tally.system_tokens = 20
    assert tally.least_tokens(conversations=1, replicas=4) == 220
    assert tally.least_tokens(conversations=6, replicas=4) == 180


async def test_every_run_holds_the_same_conversations() -> None:
    plan = Plan(conversations=3, turns=2, words_per_turn=5, at_once=1)
    first, _ = await held(plan)
    second, _ = await held(plan)
    assert first == second
