"""The ports are satisfied by plain objects: no base class, no registration."""

from helexa.protocol.errors import Refusal
from helexa.protocol.ports import ANONYMOUS, FULL_CALLER, Authenticator, Principal, Scope


class Doorman:
    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        return ANONYMOUS


def test_the_anonymous_principal_says_so() -> None:
    doorman: Authenticator = Doorman()
    principal = doorman.authenticate(None)
    assert isinstance(principal, Principal)
    assert principal.anonymous


def test_who_has_no_scopes_of_their_own_may_do_all_but_change_the_cortex() -> None:
    assert Principal(key_id="k").scopes == ANONYMOUS.scopes == FULL_CALLER
    assert set(Scope) - FULL_CALLER == {Scope.ADMIN}


def test_a_scope_is_its_text_also_as_a_key() -> None:
    """Its hash is that of its text, or sets of one would not find the other."""
    assert {scope.value for scope in Scope} == set(Scope)
    assert frozenset({"read"}) >= {Scope.READ}
