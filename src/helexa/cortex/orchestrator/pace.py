"""How fast each replica has been, learned from the requests it finished. Pure.

The gateway keeps this beside its counts of open requests: exact, but of this gateway only. All
rates are moving averages: each request counts `WEIGHT`, those before it the rest. Only the speed of
writing rises fast and falls slowly: it is to say what a replica can do, not how busy it just was.
"""

from dataclasses import dataclass
from typing import Final

from helexa.protocol.ids import ModelId, NeuronId

REPLICAS_MAX: Final = 16_384
"""Replicas kept in mind; of more, the one that was first noted is forgotten."""
WEIGHT: Final = 0.1
PROMPT_TOKENS_MIN: Final = 64
"""Computed prompt tokens below which the time to the first token says little about the speed."""
COMPLETION_TOKENS_MIN: Final = 8
RISE: Final = 0.5
FALL: Final = 0.02
ANSWERS_MIN: Final = 4
"""Answers before their speed counts: a replica that was slow once, when something else ran beside
it, would get nothing any more, and could never show that it is not."""
BYTES_PER_TOKEN: Final = 4
PROMPT_TOKENS_PER_S: Final = 500.0
"""Speed of prompt processing where none was measured: between a CPU and a large GPU."""


@dataclass(slots=True, eq=False)
class Pace:
    """One replica's speed; 0 is not known yet. Changed in place as requests end."""

    service_s: float = 0.0
    """From sending a request to its end."""
    tokens_per_s: float = 0.0
    """Of one answer, after its first token; 0 until `ANSWERS_MIN` were seen."""
    answer_tokens: float = 0.0
    """Of one answer that was long enough to tell its speed."""
    answers: int = 0
    """How many such were seen."""
    seen_tokens_per_s: float = 0.0
    """Their speed, from the first one on."""
    prompt_tokens_per_s: float = 0.0
    """Of prompts that were not cached, up to the first token."""
    prompt_byte_s: float = 1.0 / (BYTES_PER_TOKEN * PROMPT_TOKENS_PER_S)
    """Seconds to read one byte of prompt, from that; assumed until it is known."""
    tokens_open: int = 0
    """Estimated tokens of the requests that are open: what they hold in the engine's cache."""

    turn: int = 0
    """When it was last sent a prompt, counted in prompts sent; 0 is never."""

    def served(self, service_s: float) -> None:
        """Learn from how long a request took in all."""
        self.service_s = _moved(self.service_s, service_s)

    def generated(self, tokens: int, seconds: float) -> None:
        """Learn from an answer's tokens after the first, and the time they took."""
        if tokens < COMPLETION_TOKENS_MIN or seconds <= 0.0:
            return
        self.answers += 1
        self.answer_tokens = _moved(self.answer_tokens, tokens)
        before, speed = self.seen_tokens_per_s, tokens / seconds
        self.seen_tokens_per_s = before + (RISE if speed > before else FALL) * (speed - before)
        if self.answers == 1:
            self.seen_tokens_per_s = speed
        if self.answers >= ANSWERS_MIN:
            self.tokens_per_s = self.seen_tokens_per_s

    def prefilled(self, tokens: int, seconds: float) -> None:
        """Learn from the prompt tokens that were computed, and the time to the first token."""
        if tokens >= PROMPT_TOKENS_MIN and seconds > 0.0:
            self.prompt_tokens_per_s = _moved(self.prompt_tokens_per_s, tokens / seconds)
            self.prompt_byte_s = 1.0 / (BYTES_PER_TOKEN * self.prompt_tokens_per_s)


def _moved(average: float, value: float) -> float:
    return average + WEIGHT * (value - average) if average else value


UNKNOWN: Final = Pace()
"""Of a replica that has finished nothing yet; nobody changes it."""


class Paces:
    """The paces of all replicas by neuron and model; bounded by `REPLICAS_MAX`."""

    __slots__ = ("_paces",)

    def __init__(self) -> None:
        self._paces: dict[tuple[NeuronId, ModelId], Pace] = {}

    def __len__(self) -> int:
        return len(self._paces)

    def of(self, neuron_id: NeuronId, model_id: ModelId) -> Pace:
        """Return a replica's pace, `UNKNOWN` where nothing was learned."""
        return self._paces.get((neuron_id, model_id), UNKNOWN)

    def learning(self, neuron_id: NeuronId, model_id: ModelId) -> Pace:
        """Return a replica's pace to be changed."""
        key = (neuron_id, model_id)
        pace = self._paces.get(key)
        if pace is None:
            if len(self._paces) >= REPLICAS_MAX:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[key] = Pace()
        return pace
