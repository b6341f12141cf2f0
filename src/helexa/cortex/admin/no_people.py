"""The routes of tenants and keys where a cortex has no store: each says how to have one."""

from collections.abc import Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helexa.cortex.admin.writes import Writes, answer_refusal
from helexa.protocol.errors import ErrorCode, Refusal

KINDS: Final = ("tenants", "projects", "keys", "audit")
_NO_STORE: Final = Refusal(
    ErrorCode.NOT_SUPPORTED,
    'this cortex keeps no tenants and keys; start it with `--auth store` ([auth] kind = "store")',
)

People = Callable[[Writes], Sequence[Route]]
"""Makes the routes of tenants, projects, keys and the audit log."""


def no_people(_writes: Writes) -> Sequence[Route]:
    """Return the routes of a cortex without a store."""
    return [
        Route(f"/api/v1/{kind}{rest}", _refuse, methods=["GET", "POST"])
        for kind in KINDS
        for rest in ("", "/{rest:path}")
    ]


async def _refuse(_request: Request) -> Response:
    return answer_refusal(_NO_STORE)
