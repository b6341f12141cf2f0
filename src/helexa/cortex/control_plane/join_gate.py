"""Who may open a neuron's connection, decided on the HTTP upgrade, before any websocket exists."""

from collections.abc import Callable, Mapping
from typing import Final

from helexa.protocol.ids import NeuronId, neuron_id_problem
from helexa.protocol.join import (
    HEADER_NODE,
    HEADER_PROOF,
    JoinProblem,
    NonceMemory,
    check_proof,
)


class JoinGate:
    """Checks the join proof of a handshake; without a token everybody may try.

    `wall` returns unix seconds: a proof is dated, so that it cannot be kept and used later.
    """

    def __init__(self, token: str | None, wall: Callable[[], float]) -> None:
        self._token: Final = token
        self._wall = wall
        self._nonces = NonceMemory()

    @property
    def is_open(self) -> bool:
        """No token is needed."""
        return self._token is None

    def check(self, headers: Mapping[str, str]) -> NeuronId | JoinProblem | None:
        """Return the proven neuron id, None where no proof is needed, or what is wrong."""
        if self._token is None:
            return None
        node_id = headers.get(HEADER_NODE, "")
        if neuron_id_problem(node_id) is not None:
            return JoinProblem.MISSING if not node_id else JoinProblem.MALFORMED
        now_s = self._wall()
        proof = check_proof(self._token, node_id, headers.get(HEADER_PROOF), now_s)
        if isinstance(proof, JoinProblem):
            return proof
        if not self._nonces.is_new(proof.nonce, now_s):
            return JoinProblem.REPLAYED
        return NeuronId(node_id)
