"""What every provisioning strategy must keep to, the one in the tree and those of others.

from tests.conformance.provisioner_contract import check_strategy
check_strategy(MyStrategy())
"""

import itertools

from helexa.cortex.orchestrator.retention import Held
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import Load, Scale
from helexa.cortex.orchestrator.strategy import ProvisioningStrategy
from helexa.protocol.ids import ModelId

RULES = (
    ModelRules(min_replicas=0, max_replicas=1, keep_alive_s=60.0),
    ModelRules(min_replicas=1, max_replicas=4),
    ModelRules(min_replicas=0, max_replicas=None, pinned=True),
)
LOADS = tuple(
    Load(expected=expected, wanted=wanted, idle_s=idle_s, seats=seats, loaded=loaded, warm=warm)
    for expected, wanted, idle_s, seats, loaded, warm in itertools.product(
        (0.0, 3.0, 500.0), (False, True), (0.0, 1e6), (0, 4), (0, 1, 4), (0, 2)
    )
)


def check_strategy(strategy: ProvisioningStrategy) -> None:
    """Raise AssertionError where a strategy breaks the contract."""
    policy = ProvisioningPolicy()
    for rules, load, count in itertools.product(RULES, LOADS, (0, 1, 3)):
        first = strategy.resize(Scale(count), load, rules, policy, 10.0)
        assert first == strategy.resize(Scale(count), load, rules, policy, 10.0), "it is pure"
        assert first.replicas >= 0
        if load.wanted:
            assert first.replicas > 0, "what is waited for is loaded at once"
        _check_rest(strategy, load, rules, policy, first)
    helds = [_held(f"m{n}", n % 2 == 0, float(n * 100)) for n in range(6)]
    keys = [strategy.retention_key(held) for held in helds]
    assert keys == [strategy.retention_key(held) for held in helds], "it is pure"
    assert sorted(keys), "keys can be compared"


def _check_rest(
    strategy: ProvisioningStrategy,
    load: Load,
    rules: ModelRules,
    policy: ProvisioningPolicy,
    scale: Scale,
) -> None:
    """A load that stays as it is must come to rest: no number may come back that was left."""
    left: list[int] = []
    for step in range(400):
        after = strategy.resize(scale, load, rules, policy, 10.0 + step * policy.cooldown_s)
        if after.replicas != scale.replicas:
            left.append(scale.replicas)
            assert after.replicas not in left, f"it flaps: {left}"
        scale = after


def _held(name: str, busy: bool, idle_s: float) -> Held:
    return Held(
        model_id=ModelId(name), bytes=1, rules=ModelRules(), idle_s=idle_s, busy=busy,
        loaded=True, leaving=False, loaded_since_s=0.0, ours=True, surplus=False,
    )  # fmt: skip
