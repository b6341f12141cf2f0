"""Interfaces that both roles and their tests share."""

from enum import StrEnum
from typing import Final, Protocol

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


class Scope(StrEnum):
    """What a key is for. One scope includes no other."""

    __hash__ = str.__hash__  # the inherited one is Python code, 0.3 µs a look-up

    INFERENCE = "inference"
    """Use models through the gateway."""
    READ = "read"
    """See the whole cortex: metrics, and what the admin API tells."""
    ADMIN = "admin"
    """Change the whole cortex by the admin API, keys included; and see it."""


FULL_CALLER: Final = frozenset({Scope.INFERENCE, Scope.READ})
"""What everybody may who gets in where keys have no scopes of their own."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request is from. `key_id` is public: it may be logged."""

    key_id: str
    name: str = ""
    anonymous: bool = False
    tenant: str = ""
    project: str = ""
    scopes: frozenset[Scope] = FULL_CALLER

    @property
    def owner(self) -> str:
        """Return whose prompts these are: the tenant's, or the key's where no tenant is known."""
        return self.tenant or self.key_id


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

    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        """Resolve the bearer credential (None when the caller sent none). Must not block.

        `peer` is the address of the other end of the connection, with or without its port.
        """
        ...
