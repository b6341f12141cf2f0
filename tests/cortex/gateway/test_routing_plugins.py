"""From settings to a router."""

import pytest

from helexa.config.cortex import RoutingSettings, RoutingWeights
from helexa.cortex.gateway.routing_plugins import router_of
from helexa.cortex.orchestrator.requests import Candidate, Choice, RoutingRequest, Share
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.cortex.orchestrator.strategies import LeastSeconds, RoundRobin, RoutingPolicy
from helexa.util import plugins
from helexa.util.errors import ConfigError
from tests.fakes.routing import replica, request


class First:
    """Always the first: blind to load, which the rules forbid."""

    needs_affinity = False

    def __init__(self, policy: RoutingPolicy) -> None:
        pass

    def pick(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> Choice:
        return Choice(candidates[0], "first")

    def shares(
        self, request: RoutingRequest, candidates: list[Candidate], memory: RoutingMemory
    ) -> tuple[Share, ...]:
        return ()

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        pass


def only_a(asked: RoutingRequest, candidate: Replica) -> bool:
    return candidate.neuron_id == "a"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {"first": First, "only_a": only_a, "five": 5}
    real = plugins.load

    def load(group: str, name: str, built_in: object, setting: str) -> object:
        return offered.get(name) or real(group, name, built_in, setting)  # type: ignore[arg-type]

    monkeypatch.setattr(plugins, "load", load)


def test_the_defaults_are_the_default_strategy_for_everybody() -> None:
    router = router_of(RoutingSettings())
    assert isinstance(router.strategy, LeastSeconds)
    assert (router.strategy_name, router.may_use, router.shown) == ("default", None, False)


def test_weights_and_names_are_taken_from_the_settings() -> None:
    weights = RoutingWeights(wait=2.0, prefix=0.0)
    router = router_of(RoutingSettings(weights=weights, show_route=True))
    assert isinstance(router.strategy, LeastSeconds)
    assert [(name, weight) for name, _, weight in router.strategy._scorers] == [
        ("wait", 2.0), ("session", 0.5), ("cache", 1.0), ("speed", 1.0),
    ]  # fmt: skip
    assert router.shown
    turns = router_of(RoutingSettings(strategy="round_robin"))
    assert isinstance(turns.strategy, RoundRobin)


def test_an_unknown_strategy_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="'nonsense'; there are: default, round_robin"):
        router_of(RoutingSettings(strategy="nonsense"))


@pytest.mark.usefixtures("installed")
def test_a_plug_in_that_breaks_the_rules_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="nearly all requests"):
        router_of(RoutingSettings(strategy="first"))


@pytest.mark.usefixtures("installed")
def test_a_policy_of_tenants_is_a_plug_in_too() -> None:
    router = router_of(RoutingSettings(tenant_policy="only_a"))
    assert router.may_use is not None
    assert router.may_use(request(), replica("a"))
    assert not router.may_use(request(), replica("b"))


@pytest.mark.usefixtures("installed")
def test_a_policy_of_tenants_that_is_no_function_stops_the_start() -> None:
    """It was found by the first request, and by every other one."""
    with pytest.raises(ConfigError, match="'five' is no function of a request and a replica"):
        router_of(RoutingSettings(tenant_policy="five"))
