"""Who asks: requests over time, how large each is, and what became of it."""

import random
import re
from typing import TYPE_CHECKING, Final

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.metering import Outcome, Record
from helexa.protocol.ids import ModelId
from helexa.protocol.workload import Operation
from tests.fakes.gateway import Caller, exchange_of

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

_WORD: Final = re.compile(rb'"content":"w(\d+) "')
LEAVES: Final = 0.03
"""Share of callers that leave before their answer is whole."""


class Ask(Caller):
    """One caller with one request."""

    def __init__(self, request_id: str, model_id: ModelId, started_s: float) -> None:
        super().__init__()
        self.request_id, self.model_id, self.started_s = request_id, model_id, started_s
        self.ends: list[str] = []
        self.record: Record | None = None
        self.exchange: Exchange | None = None

    def answered(self) -> None:
        """The answer is complete."""
        super().answered()
        self.ends.append("answered")

    def cut(self, *, flush: bool) -> None:
        """The connection was cut."""
        super().cut(flush=flush)
        self.ends.append("cut")

    def words(self) -> list[int]:
        """Return the numbers of the words it was sent, in order."""
        return [int(found) for found in _WORD.findall(bytes(self.transport.written))]


class Callers:
    """All of them. Their dice are their own, so that a fault less changes no request."""

    def __init__(self, world: "SimWorld", seed: int) -> None:
        self.world = world
        self.asks: dict[str, Ask] = {}
        self.open: dict[str, Ask] = {}
        self.outcomes: dict[str, int] = {}
        self.stopped = False
        self._dice = random.Random(f"callers {seed}")
        self._sizes: dict[str, tuple[int, float]] = {}
        self._numbers = 0

    def begin(self, model_id: ModelId, per_second: float) -> None:
        """Ask for a model from now on, at random, so often in the mean."""
        self.world.clock.after(self._dice.expovariate(per_second), self._next, model_id, per_second)

    def _next(self, model_id: ModelId, per_second: float) -> None:
        if not self.stopped:
            if model_id not in self.world.unwanted:
                self.ask(model_id)
            self.begin(model_id, per_second)

    def size_of(self, request_id: str) -> tuple[int, float]:
        """Return how many words the answer has, and how long the engine takes for it."""
        return self._sizes[request_id]

    def ask(self, model_id: ModelId) -> None:
        """Send one request."""
        self._numbers += 1
        request_id = f"r{self._numbers}"
        words = self._dice.randrange(1, 12)
        self._sizes[request_id] = words, round(0.1 + words * self._dice.random() * 0.6, 3)
        leaves = self._dice.random() < LEAVES
        leaves_after_s = self._dice.random() * 5
        cortex = self.world.cortex
        if not cortex.up:
            self._count("no cortex")
            return
        ask = Ask(request_id, model_id, self.world.clock.now)
        exchange = ask.exchange = exchange_of(ask, "POST", "/v1/chat/completions")
        exchange.request_id = request_id
        chat = model_id in self.world.chat_models
        operation = Operation.CHAT if chat else Operation.EMBEDDINGS
        if chat:
            body = b'{"model":"%s","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        else:
            body = b'{"model":"%s","input":"hi"}'
        exchange.body = body % model_id.encode()
        self.asks[request_id] = self.open[request_id] = ask
        cortex.take(exchange, operation)
        if leaves:
            self.world.clock.after(leaves_after_s, self._leave, ask)

    def _leave(self, ask: Ask) -> None:
        # Whoever lost its gateway meanwhile has nothing to leave any more.
        if ask.request_id in self.open and ask.exchange is not None:
            ask.exchange.leave()

    def recorded(self, record: Record) -> None:
        """The gateway books the end of a request."""
        ask = self.asks[record.request_id]
        self.world.watch.recorded(ask, record)
        ask.record = record
        self._close(ask, record.code or record.outcome.value)

    def gateway_died(self) -> None:
        """Every connection of a caller is cut."""
        for ask in list(self.open.values()):
            ask.cut(flush=False)
            self._close(ask, "gateway died")

    def _close(self, ask: Ask, what: str) -> None:
        self.open.pop(ask.request_id, None)
        self._count(what)

    def _count(self, what: str) -> None:
        self.outcomes[what] = self.outcomes.get(what, 0) + 1

    def served(self) -> int:
        """Return how many requests were served whole."""
        return self.outcomes.get(Outcome.OK.value, 0)
