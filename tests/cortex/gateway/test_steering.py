"""From a request to what routing is asked, through a pipeline with several replicas."""

import hashlib
from dataclasses import dataclass

import pytest

from helexa.cortex.gateway.auth import StaticKeys
from helexa.cortex.gateway.steering import asked_of
from helexa.cortex.orchestrator.prefix import Realms
from helexa.cortex.orchestrator.router import Router
from helexa.protocol.ports import Principal
from tests.fakes.gateway import World

ANSWER = b'{"choices":[{"message":{"content":"hi"}}]}'

LONG = [{"role": "user", "content": "What is the meaning of this? " * 100}]


def where(world: World) -> str:
    (relay,) = world.pipeline._live
    assert relay.replica is not None
    return relay.replica.neuron_id


def finish(world: World) -> None:
    world.job(where(world)).answer(ANSWER)


def test_sessions_and_prompts_are_looked_at_only_where_there_is_a_choice() -> None:
    for names, looked in ((("n1",), False), (("n1", "n2"), True)):
        world = World(*names)
        world.ask(headers={b"x-session-id": b"s"}, messages=LONG)
        (relay,) = world.pipeline._live
        asked = asked_of(relay, world.snapshot, world.pipeline.router)
        assert (asked.session, bool(asked.prefix), asked.prompt_bytes > 2900) == (
            "s" if looked else "", looked, looked,
        )  # fmt: skip


def test_a_conversation_returns_to_the_replica_that_read_its_beginning() -> None:
    world = World("n1", "n2", "n3", "n4")
    turns = list(LONG)
    places = []
    for _ in range(6):
        world.ask(messages=turns)
        finish(world)
        places.append(world.records[-1].neuron)
        turns = [*turns, {"role": "user", "content": "And this? " * 60}]
    assert len(set(places)) == 1
    for number in range(8):
        world.ask(messages=[{"role": "user", "content": f"{number} is another one. " * 90}])
    assert len({relay.replica.neuron_id for relay in world.pipeline._live if relay.replica}) == 4


def test_what_was_routed_is_told_to_the_router_at_its_end() -> None:
    world = World("n1", "n2")
    world.ask(messages=LONG)
    (relay,) = world.pipeline._live
    assert relay.routed is not None
    replica = relay.routed[1].replica
    pace = world.pipeline.router.memory.paces.of(replica.neuron_id, replica.model_id)
    assert pace.tokens_open > 700
    finish(world)
    assert pace.tokens_open == 0
    assert relay.routed is None


def test_a_request_that_is_tried_elsewhere_leaves_nothing_behind() -> None:
    world = World("n1", "n2")
    world.ask(messages=LONG)
    world.job(where(world)).give_up("upstream_connection_error", retry_elsewhere=True)
    world.carry()
    finish(world)
    paces = world.pipeline.router.memory.paces
    assert [paces.of(name, "m").tokens_open for name in ("n1", "n2")] == [0, 0]  # type: ignore[arg-type]


def test_callers_are_told_of_the_route_only_where_the_settings_say_so() -> None:
    for shown in (False, True):
        world = World("n1", "n2", router=Router(shown=shown))
        _, caller = world.ask()
        place = where(world)
        finish(world)
        line = f"x-helexa-route: {place};reason=least_loaded;eligible=2\r\n"
        assert (line in caller.text) is shown


@dataclass(frozen=True)
class Key:
    key_id: str
    name: str = ""

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.key_id.encode()).digest()


@pytest.mark.parametrize("shared", [False, True])
def test_one_key_learns_nothing_of_what_another_one_asked_unless_they_share(shared: bool) -> None:
    """S33: the route of a guessed prompt is that of a new one; engines are told to keep apart."""
    router = Router(shown=True, realms=Realms(b"secret", shared=shared))
    names = ("n1", "n2", "n3", "n4")
    keys = StaticKeys([Key("alice"), Key("bob")])
    world = World(*names, router=router, authenticator=keys)
    reasons = []
    for who in (b"alice", b"alice", b"bob"):
        _, caller = world.ask(headers={b"authorization": b"Bearer " + who}, messages=LONG)
        job = world.job(where(world))
        assert job.head.tenant == ("" if shared else who.decode())
        finish(world)
        reasons.append(caller.text.partition("reason=")[2].partition(";")[0])
    assert reasons == ["least_loaded", "prefix", "prefix" if shared else "least_loaded"]


def test_without_keys_there_is_nobody_to_keep_apart() -> None:
    world = World("n1", "n2")
    world.ask()
    assert world.job(where(world)).head.tenant == ""


def test_the_keys_of_one_tenant_share_what_was_read() -> None:
    """A key that replaces another one finds the prompts warm; another tenant's does not."""
    principals = {
        b"old": Principal(key_id="1", tenant="acme"),
        b"new": Principal(key_id="2", tenant="acme"),
        b"else": Principal(key_id="3", tenant="umbrella"),
    }

    class Door:
        def authenticate(self, credential: bytes | None, peer: str = "") -> Principal:
            return principals[credential or b""]

    router = Router(shown=True, realms=Realms(b"secret"))
    world = World("n1", "n2", "n3", "n4", router=router, authenticator=Door())
    reasons = []
    for who in (b"old", b"new", b"else"):
        _, caller = world.ask(headers={b"authorization": b"Bearer " + who}, messages=LONG)
        assert world.job(where(world)).head.tenant == principals[who].tenant
        finish(world)
        reasons.append(caller.text.partition("reason=")[2].partition(";")[0])
    assert reasons == ["least_loaded", "prefix", "least_loaded"]
