"""A busy engine and the seats that it is given: gateway, meter, fleet and admission in one loop.

The engine makes more tokens a second up to some number of requests at a time, and no more past it.
More callers than that ask again as soon as they are answered. Time is the script's own.
"""

import msgspec

from helexa.cortex.gateway.demand_meter import DemandMeter
from helexa.cortex.orchestrator.events import DemandSampled, NeuronHeard, Tick
from helexa.cortex.orchestrator.useful_seats import PROBE_S, REST_S
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import ResponseHead, Trailer, Usage
from tests.fakes.fleet import CHAT, fleet, joined, model, register, status
from tests.fakes.gateway import Job, Settings, World

N1, M = NeuronId("n1"), ModelId("m")
SEATS = 16
CALLERS = 24
TOKENS = 40
TOKENS_PER_S = 20.0
"""Of one request that is alone, and of each, up to the engine's knee."""


class BusyEngine:
    """An engine of sixteen seats, its gateway, and callers that never rest."""

    def __init__(self, knee: int) -> None:
        capability = msgspec.structs.replace(CHAT, seats=SEATS)
        settings = Settings(requests_in_flight_max=99, queue_requests_max=99, queue_wait_s=1e9)
        self.knee = knee
        self.world = World("n1", settings=settings, capability=capability)
        self.meter = DemandMeter()
        self.state = fleet(model())
        self.state.apply([joined(1, register("n1", status(model(), capability=capability)))], 0.0)
        self.world.publish(self.state.snapshot(0.0))
        self.progress: dict[int, float] = {}
        self.began: dict[int, float] = {}
        self.now = 0.0
        self.tokens = 0
        self.recorded = 0

    def live(self, seconds: float, callers: int) -> float:
        """Pass time with so many callers; return the tokens per second that were made."""
        until_s, before = self.now + seconds, self.tokens
        while self.now < until_s:
            self.now += 1.0
            self.world.now_s += 1.0
            self._work()
            while len(self.world.pipeline) < callers:
                self.world.ask()
            self._tick()
        return (self.tokens - before) / seconds

    def _work(self) -> None:
        """Let a second pass in the engine, which works on as many as it has seats for."""
        jobs = self.world.neurons[N1].jobs
        at_work = jobs[:SEATS]
        speed = TOKENS_PER_S * min(1.0, self.knee / max(len(at_work), 1))
        for job in at_work:
            self.began.setdefault(job.number, self.now - 1.0)
            self.progress[job.number] = self.progress.get(job.number, 0.0) + speed
        for job in [job for job in at_work if self.progress[job.number] >= TOKENS]:
            jobs.remove(job)
            self._answer(job)

    def _answer(self, job: Job) -> None:
        seconds = self.now - self.began.pop(job.number)
        seconds *= TOKENS / self.progress.pop(job.number)  # it ended within this last second
        self.tokens += TOKENS
        trailer = Trailer(
            usage=Usage(prompt_tokens=9, completion_tokens=TOKENS),
            first_token_ms=0.0,
            duration_ms=seconds * 1e3,
        )
        encode = msgspec.json.encode
        job.stream.send_answer(encode(ResponseHead(status=200)), b"{}", encode(trailer))
        self.world.carry()

    def _tick(self) -> None:
        for record in self.world.records[self.recorded :]:
            self.meter.record(record)
        self.recorded = len(self.world.records)
        pipeline = self.world.pipeline
        samples = self.meter.samples(
            pipeline.inflight.by_model(), pipeline.waiting(), self.world.snapshot.names
        )
        self.state.apply([NeuronHeard(N1, 1, self.now), DemandSampled(samples), Tick()], self.now)
        self.world.publish(self.state.snapshot(self.now))

    @property
    def at_work(self) -> int:
        return self.world.pipeline.inflight.total


def day(engine: BusyEngine) -> None:
    """Let the load rise to more than the engine bears."""
    for callers in (1, 2, 3, 4, 6, 8, 12, 16, CALLERS):
        engine.live(120.0, callers)


def test_a_busy_engine_is_given_what_is_of_use_to_it_and_loses_nothing_by_it() -> None:
    """R6.10: the others wait in the gateway, where they can go first, elsewhere or away."""
    engine = BusyEngine(knee=4)
    day(engine)
    made = engine.live(PROBE_S / 3, CALLERS)
    assert engine.at_work == 4
    assert engine.world.pipeline.room.queued == CALLERS - 4
    assert made >= 0.9 * 4 * TOKENS_PER_S


def test_an_engine_that_gets_better_is_given_more_again() -> None:
    """One bad hour must not count for ever."""
    engine = BusyEngine(knee=2)
    day(engine)
    assert engine.at_work == 2
    engine.knee = SEATS
    engine.live(PROBE_S + 8 * REST_S, CALLERS)
    made = engine.live(300.0, CALLERS)
    assert engine.at_work >= SEATS
    assert made >= 0.9 * SEATS * TOKENS_PER_S


def test_an_engine_that_bears_all_of_its_seats_keeps_them() -> None:
    engine = BusyEngine(knee=SEATS)
    day(engine)
    engine.live(2 * PROBE_S, CALLERS)
    assert engine.at_work == SEATS + 2
