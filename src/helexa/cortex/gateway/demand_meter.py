"""What is asked of each model, counted between two samples. Pure.

    requests' ends (`record`) + what is under way now ─► `samples` ─► the fleet's demand

Nothing is counted when a request comes: the arrivals since the last sample are those that ended
since, and those that are under way now more than then. So the hot path pays at its end only.
"""

from collections.abc import Mapping
from typing import Final

from helexa.cortex.gateway.metering import Record
from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.pace import COMPLETION_TOKENS_MIN
from helexa.cortex.orchestrator.useful_seats import Achieved, step_of
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Trailer

UNCOUNTED_MAX: Final = 256
"""Ends that are kept to be counted together, which costs a third of counting each at its time."""
NAMES_MAX: Final = 4096
"""Names counted between two samples; callers may invent as many as they like."""
STEPS_MAX: Final = 256
"""Neurons and steps of concurrency of one name that are counted apart between two samples."""


class _Count:
    __slots__ = (
        "achieved", "completion_tokens", "ended", "finished", "prompt_tokens", "service_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ended = 0
        self.finished = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.service_s = 0.0
        self.achieved: dict[tuple[str, int], tuple[int, float, float]] = {}
        """By neuron and step of concurrency: requests, and sums of concurrency and speed."""

    def note_speed(self, record: Record, trailer: Trailer) -> None:
        """Take how fast an answer was written beside how many others.

        It tells something where all of it was written on one replica, about as many were there
        when it ended as when it came, and its first token was timed.
        """
        usage, first_ms = trailer.usage, trailer.first_token_ms
        first, last = record.beside_first, record.beside_last
        if usage is None or first_ms is None or record.resumes or not 0 < first <= 2 * last:
            return
        tokens, seconds = usage.completion_tokens - 1, (trailer.duration_ms - first_ms) / 1e3
        if tokens < COMPLETION_TOKENS_MIN or seconds <= 0.0 or last > 2 * first:
            return
        beside = (first + last) / 2
        key = (record.neuron, step_of(beside))
        count, sum_beside, sum_speed = self.achieved.get(key, (0, 0.0, 0.0))
        if count or len(self.achieved) < STEPS_MAX:
            self.achieved[key] = (count + 1, sum_beside + beside, sum_speed + tokens / seconds)


class DemandMeter:
    """Counts of one gateway, by the name that a request was asked or answered under."""

    def __init__(self) -> None:
        self._uncounted: list[Record] = []
        self._counts: dict[str, _Count] = {}
        self._under_way: dict[ModelId, int] = {}

    def record(self, record: Record) -> None:
        """Take note of a request's end."""
        uncounted = self._uncounted
        uncounted.append(record)
        if len(uncounted) >= UNCOUNTED_MAX:
            self._count_all()

    def _count_all(self) -> None:
        uncounted, self._uncounted = self._uncounted, []
        for record in uncounted:
            self._count(record)

    def _count(self, record: Record) -> None:
        """Count a request's end; its time on the replica is the neuron's own figure."""
        name = record.model
        count = self._counts.get(name)
        if count is None:
            if not name or len(self._counts) >= NAMES_MAX:
                return
            count = self._counts[name] = _Count()
        count.ended += 1
        trailer = record.trailer
        if trailer is None:
            return
        count.finished += 1
        count.service_s += max(trailer.duration_ms - trailer.queued_ms, 0.0) / 1e3
        usage = trailer.usage
        if usage is not None:
            count.prompt_tokens += usage.prompt_tokens
            count.completion_tokens += usage.completion_tokens
        count.note_speed(record, trailer)

    def samples(
        self,
        in_flight: Mapping[ModelId, int],
        waiting: Mapping[ModelId, int],
        names: Mapping[str, ModelId],
    ) -> tuple[DemandSample, ...]:
        """Return what was seen since the last call, of every model that anything was seen of.

        `names` are the ids and aliases that mean a model; requests for others count nowhere.
        """
        self._count_all()
        counts: dict[ModelId, list[_Count]] = {}
        for name, count in self._counts.items():
            model_id = names.get(name)
            if model_id is not None:
                counts.setdefault(model_id, []).append(count)
        under_way = {
            key: in_flight.get(key, 0) + waiting.get(key, 0)
            for key in in_flight.keys() | waiting.keys()
        }
        before, self._under_way, self._counts = self._under_way, under_way, {}
        return tuple(
            _sample(
                key, counts.get(key, []), in_flight.get(key, 0), waiting.get(key, 0),
                before.get(key, 0),
            )
            for key in sorted(counts.keys() | under_way.keys() | before.keys())
        )  # fmt: skip


def _sample(
    model_id: ModelId, counts: list[_Count], in_flight: int, waiting: int, before: int
) -> DemandSample:
    ended = sum(count.ended for count in counts)
    return DemandSample(
        model_id,
        arrivals=max(ended + in_flight + waiting - before, 0),
        finished=sum(count.finished for count in counts),
        prompt_tokens=sum(count.prompt_tokens for count in counts),
        completion_tokens=sum(count.completion_tokens for count in counts),
        service_s=sum(count.service_s for count in counts),
        in_flight=in_flight,
        waiting=waiting,
        achieved=tuple(
            Achieved(NeuronId(neuron), requests, beside / requests, speed / requests)
            for count in counts
            for (neuron, _), (requests, beside, speed) in count.achieved.items()
        ),
    )
