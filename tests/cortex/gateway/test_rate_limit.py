"""The rate-limit hook: who may ask for one more thing."""

from helexa.cortex.gateway.rate_limit import UNLIMITED
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import ANONYMOUS, Principal, RateLimiter
from helexa.protocol.workload import Operation
from tests.fakes.gateway import World
from tests.fakes.rate_limit import OnePerSecond


def test_the_stub_lets_everybody_in() -> None:
    """R2.34."""
    limiter: RateLimiter = UNLIMITED
    assert limiter.refusal_of(ANONYMOUS, Operation.CHAT, "m", 0.0) is None


def test_a_limiter_can_refuse_with_429_and_when_to_come_back() -> None:
    """R2.34."""
    limiter = OnePerSecond()
    world = World("n1", limiter=limiter)
    world.ask()
    world.job().answer(b"{}")
    _, caller = world.ask()
    assert caller.status == 429
    assert "retry-after: 1\r\n" in caller.text
    assert caller.error["code"] == "rate_limit_exceeded"
    assert len(world.neurons["n1"].jobs) == 1  # type: ignore[index]
    assert [record.status for record in world.records] == [200, 429]
    world.later(1.0)
    world.ask()
    assert len(world.neurons["n1"].jobs) == 2  # type: ignore[index]
    assert limiter.asked[0] == ("anonymous", Operation.CHAT, "m")


def test_a_refusal_of_a_limiter_is_a_value() -> None:
    limiter = OnePerSecond()
    who = Principal(key_id="k")
    assert limiter.refusal_of(who, Operation.CHAT, None, 5.0) is None
    refusal = limiter.refusal_of(who, Operation.CHAT, None, 5.5)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry_after) == (ErrorCode.RATE_LIMIT_EXCEEDED, 1)
