"""Who may open a neuron's connection."""

from helexa.cortex.control_plane.join_gate import JoinGate
from helexa.protocol.join import HEADER_NODE, HEADER_PROOF, JoinProblem, make_proof

TOKEN = "correct horse battery staple"
NOW = 1_800_000_000.0
NONCE = "0123456789abcdef"


def gate(now: float = NOW) -> JoinGate:
    return JoinGate(TOKEN, lambda: now)


def headers(token: str = TOKEN, node: str = "n1", when: float = NOW) -> dict[str, str]:
    return {HEADER_NODE: node, HEADER_PROOF: make_proof(token, node, int(when), NONCE)}


def test_without_a_token_everybody_may_try() -> None:
    open_gate = JoinGate(None, lambda: NOW)
    assert open_gate.is_open
    assert open_gate.check({}) is None


def test_a_good_proof_tells_the_neuron_id() -> None:
    assert gate().check(headers()) == "n1"


def test_a_proof_is_good_once() -> None:
    one = gate()
    assert one.check(headers()) == "n1"
    assert one.check(headers()) is JoinProblem.REPLAYED


def test_what_is_wrong_with_a_proof() -> None:
    assert gate().check({}) is JoinProblem.MISSING
    assert gate().check({HEADER_NODE: "n1"}) is JoinProblem.MISSING
    assert gate().check(headers(token="another token")) is JoinProblem.WRONG
    assert gate().check(headers(when=NOW - 3600)) is JoinProblem.STALE
    assert gate().check(headers() | {HEADER_NODE: "n2"}) is JoinProblem.WRONG
    assert gate().check(headers() | {HEADER_NODE: "../n1"}) is JoinProblem.MALFORMED
    assert gate().check(headers() | {HEADER_PROOF: "v1:x"}) is JoinProblem.MALFORMED
