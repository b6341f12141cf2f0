"""What the executor needs of the rest of the neuron, as two small interfaces."""

from collections.abc import Callable
from typing import Protocol

from helexa.neuron.registry.admission import Admitted, Queued
from helexa.neuron.registry.commands import RunningModel
from helexa.protocol.errors import Refusal

OnVerdict = Callable[[Admitted | Refusal], None]


class SeatAccess(Protocol):
    """Who may use a model now."""

    def ask(self, model_id: str, ticket: str, on_verdict: OnVerdict) -> Admitted | Queued | Refusal:
        """Ask for a seat. Where the answer is `Queued`, `on_verdict` is called once, later.

        A ticket that got in (or is queued) must be given back by `release`.
        """
        ...

    def release(self, ticket: str) -> None:
        """Give a seat, or a place in the queue, back. Idempotent."""
        ...


class ModelAccess(Protocol):
    """Which models run, and whom to tell how a request went."""

    def running(self, model_id: str) -> RunningModel | None:
        """Return the engine that may be sent this model's requests; None where there is none."""
        ...

    def refusal(self, model_id: str) -> Refusal:
        """Say why `running` has none: unknown, loading, failed, stopped, leaving."""
        ...

    def condemn(self, model: RunningModel, because: str) -> None:
        """This engine process does not go on; it should be replaced."""
        ...

    def request_ended(
        self,
        model_id: str,
        latency_ms: float | None,
        tokens_per_second: float | None,
        *,
        failed: bool,
    ) -> None:
        """Tell a finished request: time to its first token, its pace from there on (None where
        they are not known), and whether the engine failed it.
        """
        ...
