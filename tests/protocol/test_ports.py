"""The ports are satisfied by plain objects: no base class, no registration."""

from helexa.protocol.errors import Refusal
from helexa.protocol.ports import ANONYMOUS, Authenticator, Principal


class Doorman:
    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        return ANONYMOUS


def test_the_anonymous_principal_says_so() -> None:
    doorman: Authenticator = Doorman()
    principal = doorman.authenticate(None)
    assert isinstance(principal, Principal)
    assert principal.anonymous
