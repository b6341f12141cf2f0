"""The authenticator over the book of keys."""

import sys
from pathlib import Path
from typing import Any

import pytest

from helexa.cortex.gateway import store_keys
from helexa.cortex.gateway.guesses import FAILURES_MAX
from helexa.cortex.gateway.store_keys import StoreKeys, origin_of
from helexa.protocol.errors import Refusal
from helexa.protocol.ports import Principal
from helexa.store.key_text import ENTROPY_BYTES, KEY_CHARS, new_key
from helexa.store.tenants import set_tenant
from tests.fakes.stored import Now, Stored

STALE_MAX_S = 600.0


class World:
    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.ticks = Now(50.0)
        self.keys = StoreKeys(stored.now, self.ticks, secret=bytes(32), stale_max_s=STALE_MAX_S)

    def publish(self) -> None:
        self.keys.publish(self.stored.book())

    def ask(self, key: str | bytes | None, peer: str = "10.0.0.1:5000") -> Principal | Refusal:
        return self.keys.authenticate(key.encode() if isinstance(key, str) else key, peer)

    def code(self, key: str | bytes | None, peer: str = "10.0.0.1:5000") -> str:
        answer = self.ask(key, peer)
        return answer.code.value if isinstance(answer, Refusal) else answer.key_id


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Stored(tmp_path))


def other_key(number: int = 0) -> str:
    return new_key(number.to_bytes(ENTROPY_BYTES, "big"))[2]


def test_a_good_key_is_let_in_the_first_time_and_from_memory(world: World) -> None:
    made = world.stored.key()
    world.publish()
    first = world.ask(made["key"])
    assert isinstance(first, Principal)
    assert (first.key_id, first.tenant, first.project) == (made["id"], "default", "default")
    assert world.ask(made["key"]) is first


def test_unknown_wrong_expired_and_revoked_answer_alike(world: World) -> None:
    stored = world.stored
    expired, revoked, good = stored.key(live_s=1.0), stored.key(), stored.key()
    stored.revoke(revoked["id"])
    stored.now.at_s += 1.0
    world.publish()
    wrong = good["key"][:-1] + ("0" if good["key"][-1] != "0" else "1")
    answers = {
        repr(world.ask(key)) for key in (None, b"", b"junk", b"\xff" * KEY_CHARS, b"x" * 10**6,
                                         b"' OR 1=1 --", other_key(), wrong, expired["key"],
                                         revoked["key"])
    }  # fmt: skip
    assert len(answers) == 1
    assert "invalid_api_key" in answers.pop()


def test_a_key_that_is_revoked_expires_or_is_disabled_is_forgotten_with_the_next_book(
    world: World,
) -> None:
    """S10."""
    stored = world.stored
    one, two, three = stored.key(), stored.key(live_s=60.0), stored.key()
    world.publish()
    assert [world.code(key["key"]) for key in (one, two)] == [one["id"], two["id"]]
    stored.revoke(one["id"])
    world.publish()
    assert [world.code(key["key"]) for key in (one, two)] == ["invalid_api_key", two["id"]]
    stored.now.at_s += 60.0
    assert world.code(two["key"]) == "invalid_api_key", "no new book is needed for that"
    assert world.code(three["key"]) == three["id"]
    stored.change(lambda change: set_tenant(change, "default", disabled=True))
    world.publish()
    assert world.code(three["key"]) == "invalid_api_key"


def test_where_nothing_is_known_it_is_503_and_never_401(world: World) -> None:
    made = world.stored.key()
    assert world.code(made["key"]) == "service_unavailable"
    answer = world.ask(made["key"])
    assert isinstance(answer, Refusal)
    assert answer.retry_after


def test_while_the_store_cannot_be_read_good_keys_stay_good_and_others_are_503(
    world: World,
) -> None:
    """A key that was made meanwhile is not in the book: nobody can say that it is wrong."""
    made, fresh = world.stored.key(), world.stored.key()
    world.publish()
    assert world.code(made["key"]) == made["id"]
    world.ticks.at_s += 3.0
    assert world.code(made["key"]) == made["id"]
    assert world.code(fresh["key"]) == fresh["id"]
    assert world.code(other_key()) == "service_unavailable"
    world.ticks.at_s += STALE_MAX_S
    assert world.code(made["key"]) == "service_unavailable"
    world.publish()
    assert world.code(made["key"]) == made["id"]


def test_who_guesses_is_slowed_and_others_of_the_same_address_are_not(world: World) -> None:
    """S28: 1,000 tries: 429 from about 20; a valid tenant on the same address unaffected."""
    made, later = world.stored.key(), world.stored.key()
    world.publish()
    codes = []
    for number in range(1000):
        codes.append(world.code(other_key(number), "10.0.0.9:1"))
        assert world.code(made["key"], "10.0.0.9:2") == made["id"]
    assert codes[:FAILURES_MAX] == ["invalid_api_key"] * FAILURES_MAX
    assert set(codes[FAILURES_MAX:]) == {"rate_limit_exceeded"}
    assert world.code(later["key"], "10.0.0.9:3") == later["id"], "seen for the first time"
    assert world.code(other_key(), "10.0.0.10:1") == "invalid_api_key"
    world.ticks.at_s += 1.0
    world.publish()
    assert world.code(other_key(), "10.0.0.9:1") == "invalid_api_key"


def test_a_key_that_is_guessed_at_is_not_even_compared_from_there(world: World) -> None:
    made = world.stored.key()
    world.publish()
    for number in range(FAILURES_MAX):
        wrong = f"{made['key'][:-4]}{number:04d}"
        assert world.code(wrong, "10.0.0.9:1") == "invalid_api_key"
    assert world.code(made["key"], "10.0.0.9:1") == "rate_limit_exceeded", "a guess come true"
    assert world.code(made["key"], "10.0.0.10:1") == made["id"], "its holder elsewhere"
    assert world.code(made["key"], "10.0.0.9:1") == made["id"], "known by now"


def test_no_key_is_no_guess_and_needs_no_store(world: World) -> None:
    assert world.code(None) == "invalid_api_key"
    world.publish()
    assert {world.code(nothing) for nothing in (None, b"") for _ in range(100)} == {
        "invalid_api_key"
    }
    assert world.code(other_key()) == "invalid_api_key"


def test_memory_is_bounded(world: World) -> None:
    keys = [world.stored.key() for _ in range(12)]
    world.publish()
    kept = store_keys.REMEMBERED_MAX
    assert kept <= 16_384
    for key in keys:
        world.ask(key["key"])
    for number in range(5000):
        world.ask(other_key(number), f"10.1.{number // 250}.{number % 250}:1")
    assert len(world.keys._known) == len(keys)
    assert len(world.keys._peers) == len(world.keys._targets) == 4096


def test_no_secret_is_kept(world: World) -> None:
    made = world.stored.key()
    world.publish()
    world.ask(made["key"])
    held = repr([vars(world.keys), world.keys._known, world.keys._targets._clean_s])
    assert made["key"].split("_")[2] not in held


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        ("10.0.0.1:5000", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("[2001:db8::1]:80", "20010db800000000"),
        ("[2001:db8::ffff:2]:81", "20010db800000000"),
        ("2001:db8::1", "20010db800000000"),
        ("[fe80::1%eth0]:80", "fe80000000000000"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1"),
        ("a:b:c", "a:b:c"),
        ("", ""),
    ],
)
def test_an_address_is_who_it_is_whatever_its_port(peer: str, origin: str) -> None:
    assert origin_of(peer) == origin


def test_a_known_id_is_not_told_from_an_unknown_one_by_the_work_that_it_makes(
    world: World,
) -> None:
    """S05: both are hashed once and compared once."""
    made = world.stored.key()
    world.publish()
    book = world.keys.book
    assert book is not None
    wrong = (made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1")).encode()

    def called(credential: bytes) -> list[str]:
        names: list[str] = []

        def note(_frame: object, event: str, argument: Any) -> None:
            if event == "c_call" and argument.__name__ in {"openssl_sha256", "compare_digest"}:
                names.append(argument.__name__)

        sys.setprofile(note)
        try:
            book.judge(credential, 0.0)
        finally:
            sys.setprofile(None)
        return names

    assert called(wrong) == called(other_key().encode()) == called(b"x" * KEY_CHARS)
    assert called(wrong) == ["openssl_sha256", "compare_digest"]
