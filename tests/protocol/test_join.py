"""The join proof: who holds the token gets in, once, from its own node id."""

import hashlib
import hmac

import pytest

from helexa.protocol.join import (
    WINDOW_S,
    JoinProblem,
    JoinProof,
    NonceMemory,
    check_proof,
    make_proof,
)

NONCE = "00112233445566778899aabbccddeeff"
NOW = 1_795_000_000


def test_a_proof_is_the_documented_hmac():
    mac = hmac.new(b"secret", f"v1|box|{NOW}|{NONCE}".encode(), hashlib.sha256).hexdigest()
    assert make_proof("secret", "box", NOW, NONCE) == f"v1:{NOW}:{NONCE}:{mac}"


def test_a_good_proof_is_accepted_anywhere_in_its_window():
    proof = make_proof("secret", "box", NOW, NONCE)
    for offset in (-WINDOW_S, 0, WINDOW_S):
        assert check_proof("secret", "box", proof, NOW + offset) == JoinProof(NOW, NONCE)


@pytest.mark.parametrize(
    ("token", "node_id", "now_s", "problem"),
    [
        ("other", "box", NOW, JoinProblem.WRONG),
        ("secret", "box2", NOW, JoinProblem.WRONG),
        ("secret", "box", NOW + WINDOW_S + 1, JoinProblem.STALE),
        ("secret", "box", NOW - WINDOW_S - 1, JoinProblem.STALE),
        ("other", "box", NOW + 10_000, JoinProblem.WRONG),
        ("", "box", NOW, JoinProblem.MALFORMED),
    ],
)
def test_a_proof_for_something_else_is_refused(token, node_id, now_s, problem):
    proof = make_proof("secret", "box", NOW, NONCE)
    assert check_proof(token, node_id, proof, now_s) is problem


@pytest.mark.parametrize(
    "header",
    [
        "v1",
        "v2:1:00112233445566778899aabbccddeeff:" + "0" * 64,
        f"v1:{NOW}:xyz:" + "0" * 64,
        f"v1:{NOW}:{NONCE}:" + "0" * 63,
        f"v1:-5:{NONCE}:" + "0" * 64,
        f"v1:{'9' * 40}:{NONCE}:" + "0" * 64,
        f"v1:{NOW}:{NONCE}:" + "0" * 64 + "\n",
    ],
)
def test_a_header_of_another_form_is_malformed(header):
    assert check_proof("secret", "box", header, NOW) is JoinProblem.MALFORMED


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_missing(header):
    assert check_proof("secret", "box", header, NOW) is JoinProblem.MISSING


def test_a_changed_date_or_nonce_breaks_the_proof():
    proof = make_proof("secret", "box", NOW, NONCE)
    later = proof.replace(str(NOW), str(NOW + 1))
    other = proof.replace(NONCE, NONCE[::-1])
    assert check_proof("secret", "box", later, NOW) is JoinProblem.WRONG
    assert check_proof("secret", "box", other, NOW) is JoinProblem.WRONG


@pytest.mark.parametrize(
    ("token", "nonce"), [("", NONCE), ("secret", "short"), ("secret", "Z" * 32)]
)
def test_a_proof_cannot_be_made_of_nothing(token, nonce):
    with pytest.raises(ValueError, match=r"token|nonce"):
        make_proof(token, "box", NOW, nonce)


def test_a_nonce_is_taken_once_while_its_proof_is_good():
    memory = NonceMemory()
    assert memory.is_new("a", NOW)
    assert not memory.is_new("a", NOW + 2 * WINDOW_S)
    assert memory.is_new("a", NOW + 2 * WINDOW_S + 1)


def test_the_memory_of_nonces_is_bounded():
    memory = NonceMemory(capacity=10)
    for number in range(100):
        assert memory.is_new(f"{number}", NOW)
    assert len(memory) <= 10
