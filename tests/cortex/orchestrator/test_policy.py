"""The defaults of the orchestrator's knobs."""

from helexa.cortex.orchestrator.policy import FleetPolicy


def test_the_defaults_are_those_of_the_design() -> None:
    policy = FleetPolicy()
    assert (policy.liveness.suspect_after_s, policy.liveness.lost_after_s) == (10.0, 15.0)
    assert policy.provisioning.models_per_neuron_max is None
    assert policy.provisioning.cooldown_s > 10 * policy.provisioning.scale_up_after_s
    assert [policy.retry.bound_s(n) for n in (0, 1, 2, 20)] == [2.0, 4.0, 8.0, 300.0]
