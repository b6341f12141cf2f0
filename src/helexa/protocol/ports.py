"""Interfaces that both roles and their tests share."""

from typing import Protocol

import msgspec

from helexa.protocol.control import ProvisioningCommand, ProvisioningResponse
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import CommandId
from helexa.protocol.workload import Operation


class NeuronControl(Protocol):
    """The only way by which provisioning reaches a neuron, whatever carries it.

    The websocket session is one carrier; tests use one in memory.
    """

    async def provision(
        self, command_id: CommandId, command: ProvisioningCommand, cause: str
    ) -> ProvisioningResponse:
        """Apply a command; the answer says that it was begun, or why not (never an exception)."""
        ...


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request is from. `key_id` is public: it may be logged."""

    key_id: str
    name: str = ""
    anonymous: bool = False


ANONYMOUS = Principal(key_id="anonymous", name="anonymous", anonymous=True)


class RateLimiter(Protocol):
    """Says whether a caller may ask for one more thing now."""

    def refusal_of(
        self, principal: Principal, operation: Operation, model: str | None, now_s: float
    ) -> Refusal | None:
        """Return None to let a request in, which counts it; else why not. Must not block.

        A refusal's code is `rate_limit_exceeded` (429), its `retry_after_s` when to come back.
        `model` is the name that the caller wrote; `now_s` is monotonic seconds.
        """
        ...


class Authenticator(Protocol):
    """Tells who is calling."""

    def authenticate(self, credential: bytes | None) -> Principal | Refusal:
        """Resolve the bearer credential (None when the caller sent none). Must not block."""
        ...
