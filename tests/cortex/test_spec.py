"""From settings to what the orchestrator is told."""

from pathlib import Path
from typing import Any

from helexa.config.cortex import (
    ControlPlaneSettings,
    CortexConfig,
    DefaultModels,
    ModelEntry,
    ProvisioningSettings,
)
from helexa.cortex.spec import desired_of, policy_of
from helexa.protocol.workload import WorkloadClass


def config(**fields: Any) -> CortexConfig:
    return CortexConfig(state_dir=Path("state"), **fields)


def test_configured_models_are_desired() -> None:
    event = desired_of(config(models=(ModelEntry(id="m", engine="echo", aliases=("x",)),)), "why")
    assert [(m.id, m.engine, m.aliases) for m in event.models] == [("m", "echo", ("x",))]
    assert event.cause == "why"


def test_every_knob_reaches_the_policy() -> None:
    """R1.35."""
    policy = policy_of(
        config(
            control_plane=ControlPlaneSettings(suspect_after_s=20.0, lost_after_s=30.0),
            provisioning=ProvisioningSettings(
                retry_initial_s=1.0,
                retry_ceiling_s=9.0,
                command_timeout_s=4.0,
                models_per_neuron_max=3,
                cooldown_s=7.0,
            ),
        )
    )
    assert policy.provisioning.models_per_neuron_max == 3
    assert policy.provisioning.cooldown_s == 7.0
    assert (policy.liveness.suspect_after_s, policy.liveness.lost_after_s) == (20.0, 30.0)
    assert (policy.retry.initial_s, policy.retry.ceiling_s) == (1.0, 9.0)
    assert policy.command_timeout_s == 4.0


def test_default_models_are_by_class_and_bulk_falls_back_to_chat() -> None:
    """R1.22."""
    policy = policy_of(config(default_models=DefaultModels(chat="c", embedding="e")))
    assert dict(policy.default_models) == {
        WorkloadClass.CHAT_INTERACTIVE: "c",
        WorkloadClass.CHAT_BULK: "c",
        WorkloadClass.EMBEDDING: "e",
    }


def test_a_models_own_word_on_the_forecast_counts_more_than_the_policys() -> None:
    models = tuple(
        ModelEntry(id=f"m-{said}".lower(), engine="echo", forecast=said)
        for said in (None, True, False)
    )
    for policy in (True, False):
        settings = ProvisioningSettings(forecast=policy)
        event = desired_of(config(models=models, provisioning=settings), "why")
        asked = [event.rules[model.id].forecast for model in event.models]
        assert asked == [policy, True, False]
