"""What is measured: each scenario is one way to call the load tool."""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a scenario's figures mean."""

    ANSWERS = "answers"  # plain JSON answers
    STREAMS = "streams"  # SSE streams
    HOLD = "hold"  # streams kept open while memory is read


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one run of the load tool takes."""

    duration_s: float = 4.0
    warmup_s: float = 1.0
    hold_s: float = 4.0


QUICK = Timing(duration_s=1.5, warmup_s=0.3, hold_s=1.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    title: str
    kind: Kind
    connections: int
    events: int = 128
    pace_us: int = 0
    rate_per_s: int | None = None

    def arguments(self, timing: Timing) -> list[str]:
        """Options of the load tool, all but the port."""
        duration_s = timing.hold_s if self.kind is Kind.HOLD else timing.duration_s
        arguments = [
            f"--connections={self.connections}",
            f"--duration={duration_s}",
            f"--warmup={timing.warmup_s}",
        ]
        if self.kind is not Kind.ANSWERS:
            mode = "--hold" if self.kind is Kind.HOLD else "--stream"
            arguments += [mode, f"--events={self.events}", f"--pace-us={self.pace_us}"]
        if self.rate_per_s is not None:
            arguments.append(f"--rate={self.rate_per_s}")
        return arguments


def _hold(streams: int) -> Scenario:
    return Scenario(
        name=f"open-{streams}",
        title=f"{streams:,} open streams, one event every 10 s",
        kind=Kind.HOLD,
        connections=streams,
        events=1000,
        pace_us=10_000_000,
    )


def _paced(pace_ms: int, streams: int, events: int) -> Scenario:
    return Scenario(
        name=f"paced-{pace_ms}ms-{streams}",
        title=f"{streams} streams, one event every {pace_ms} ms",
        kind=Kind.STREAMS,
        connections=streams,
        events=events,
        pace_us=pace_ms * 1000,
    )


SCENARIOS = (
    Scenario("nonstream-16", "plain answers, 16 connections", Kind.ANSWERS, 16),
    Scenario("nonstream-1", "plain answers, 1 connection: latency", Kind.ANSWERS, 1),
    Scenario(
        "rate-2000",
        "plain answers, 2,000 a second over 64 connections: latency since due",
        Kind.ANSWERS,
        64,
        rate_per_s=2000,
    ),
    Scenario("burst-64", "64 streams of 128 events sent at once", Kind.STREAMS, 64),
    _paced(2, 64, events=128),
    _paced(20, 64, events=64),
    _paced(20, 256, events=64),
    _hold(1000),
    _hold(5000),
)
