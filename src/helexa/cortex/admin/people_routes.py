"""The routes of tenants, projects, keys and the audit log: the table of `people` on Starlette."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helexa.cortex.admin.people import (
    CHANGES,
    READS,
    TEST_PATH,
    ChangeRoute,
    ReadRoute,
    TriedBody,
    key_standing,
)
from helexa.cortex.admin.writes import Json, Writes, actor_of, answer_json, answer_refusal
from helexa.cortex.identity import Keeper
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.store.faults import StoreError


def people_routes(keeper: Keeper, writes: Writes) -> list[Route]:
    """Return the routes over the store of `keeper`."""
    return [
        Route(TEST_PATH, writes.waiting_endpoint(TriedBody, _testing(keeper)), methods=["POST"]),
        *(Route(each.path, _reading(keeper, each)) for each in READS),
        *(
            Route(
                each.path,
                writes.waiting_endpoint(each.body, _changing(keeper, each)),
                methods=["POST"],
            )
            for each in CHANGES
        ),
    ]


def _reading(keeper: Keeper, route: ReadRoute) -> Callable[[Request], Awaitable[Response]]:
    async def read(request: Request) -> Response:
        path, query = dict(request.path_params), dict(request.query_params)
        outcome = await _told(
            keeper.read(lambda connection: route.work(connection, path, query, keeper.wall()))
        )
        return answer_refusal(outcome) if isinstance(outcome, Refusal) else answer_json(outcome)

    return read


def _changing(
    keeper: Keeper, route: ChangeRoute[Any]
) -> Callable[[Request, Any], Awaitable[Json | Refusal]]:
    async def change(request: Request, body: Any) -> Json | Refusal:
        path = dict(request.path_params)
        return await _told(
            keeper.change(
                actor_of(request), body.cause, lambda opened: route.work(opened, path, body)
            )
        )

    return change


def _testing(keeper: Keeper) -> Callable[[Request, TriedBody], Awaitable[Json | Refusal]]:
    async def test(_request: Request, body: TriedBody) -> Json | Refusal:
        return await _told(
            keeper.read(lambda connection: key_standing(connection, body, keeper.wall()))
        )

    return test


async def _told(work: Awaitable[Json | Refusal]) -> Json | Refusal:
    try:
        return await work
    except StoreError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Refusal(ErrorCode.SERVICE_UNAVAILABLE, f"{error.message}{hint}")
