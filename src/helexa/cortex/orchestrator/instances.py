"""How one model on one neuron changes: small functions from an Instance to the next. Pure."""

from dataclasses import replace
from typing import Final

import msgspec

from helexa.cortex.orchestrator import circuit
from helexa.cortex.orchestrator.policy import ACCEPTED_S, OWN_RETRY_MARGIN_S, FleetPolicy
from helexa.cortex.orchestrator.snapshot import Instance, Pending
from helexa.protocol.control import (
    LoadModel,
    ProvisioningCommand,
    ProvisioningResponse,
    UnloadModel,
    UpsertModelConfig,
)
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus

_UP: Final = frozenset({ModelState.LOADING, ModelState.LOADED})
_GONE: Final = frozenset({ModelState.UNLOADED, ModelState.FAILED})


def issued(
    instance: Instance,
    command_id: CommandId,
    command: ProvisioningCommand,
    now: float,
    timeout_s: float,
    makes_room_for: ModelId | None = None,
) -> Instance:
    """Remember a command that is about to be sent."""
    pending = Pending(command_id, command, now, now + timeout_s)
    return replace(instance, pending=pending, makes_room_for=makes_room_for)


def marked(instance: Instance, *, configured: bool) -> Instance:
    """Note whose the model is by the command under way: ours, lent, or whose it was before.

    A config of cortex's for a neuron that has none is enough to make it ours: what is asked for
    after it was taken out of the spec is loaded by that config, and nobody else would take it away.
    The config of a model that a neuron has itself is only made newer. A model that is not
    `configured` at all is lent while it is loaded.
    """
    command = instance.pending.command if instance.pending is not None else None
    loads = isinstance(command, LoadModel)
    new = isinstance(command, UpsertModelConfig) and instance.status is None
    if configured:
        return replace(instance, owned=True) if loads or new else instance
    return replace(instance, lent=True) if loads else instance


def answered(
    instance: Instance, response: ProvisioningResponse, now: float, policy: FleetPolicy
) -> Instance:
    """Take the answer to the command that is under way; answers to others change nothing."""
    pending = instance.pending
    if pending is None or pending.command_id != response.command_id:
        return instance
    if not response.accepted:
        refusals = instance.refusals + 1
        return replace(
            instance,
            pending=None,
            makes_room_for=None,
            refusals=refusals,
            because=response.because,
            not_before_s=now + policy.retry.bound_s(refusals - 1),
        )
    instance = replace(instance, refusals=0, because="")
    if isinstance(pending.command, UpsertModelConfig):
        return replace(instance, pending=None, known_digest=pending.command.config.digest())
    if isinstance(pending.command, LoadModel) and instance.state in _UP:
        return replace(instance, pending=None)
    return replace(instance, pending=replace(pending, accepted=True, deadline_s=now + ACCEPTED_S))


def undelivered(
    instance: Instance, command_id: CommandId, now: float, policy: FleetPolicy
) -> Instance:
    """Forget a command that never left, and wait a little before the next one."""
    if instance.pending is None or instance.pending.command_id != command_id:
        return instance
    not_before_s = max(instance.not_before_s, now + policy.retry.initial_s)
    return replace(instance, pending=None, makes_room_for=None, not_before_s=not_before_s)


def disconnected(instance: Instance) -> Instance:
    """Forget the command under way, which may never have arrived, and the room it was to make.

    A model that was seen to leave still does, and makes room as it was told.
    """
    leaves = instance.state is ModelState.UNLOADING
    newcomer = instance.makes_room_for if leaves else None
    return replace(instance, pending=None, makes_room_for=newcomer)


def expired(instance: Instance, now: float) -> Instance:
    """Forget a command whose effect did not show in time, and waits that are over."""
    if instance.pending is not None and instance.pending.deadline_s <= now:
        instance = replace(instance, pending=None, makes_room_for=None)
    if instance.recovering and instance.not_before_s <= now:
        instance = replace(instance, recovering=False)
    if instance.circuit is not circuit.CLOSED:
        instance = replace(instance, circuit=circuit.passed(instance.circuit, now))
    return instance


def reported(instance: Instance, status: ModelStatus, now: float, policy: FleetPolicy) -> Instance:
    """Take what the neuron says about the model.

    Reports without a config or capability keep what an earlier one said of the same config.
    """
    before = instance.status
    if before is None or before.state is not status.state:
        instance = replace(instance, since_s=now)
        left = before is not None and before.state is ModelState.UNLOADING
        if left or status.state in _GONE:
            instance = replace(instance, makes_room_for=None)
        if before is not None and status.state is ModelState.UNLOADED:
            instance = replace(instance, lent=False)
    if status.config is not None:
        instance = replace(instance, known_digest=status.config.digest())
    if before is not None and before.config_digest == status.config_digest:
        status = _filled(status, before)
    if status.config is None and not instance.known_digest:
        instance = replace(instance, known_digest=status.config_digest)
    instance = replace(instance, status=status)
    if status.state is ModelState.FAILED:
        return _failed(instance, before, now, policy)
    if status.state in _UP and (before is None or before.state is not status.state):
        # Only news end a wait: a heartbeat that repeats itself must not cut short a refused unload.
        instance = replace(instance, recovering=False, refusals=0, because="", not_before_s=0.0)
        instance = replace(instance, circuit=circuit.CLOSED)
    return replace(instance, pending=_still_pending(instance.pending, status))


def requests_ended(instance: Instance, *, ok: bool, count: int, now: float) -> Instance:
    """Count requests that ended alike; many failures take the replica out for a while."""
    return replace(instance, circuit=circuit.ended(instance.circuit, ok=ok, count=count, now=now))


def _filled(status: ModelStatus, before: ModelStatus) -> ModelStatus:
    config = status.config if status.config is not None else before.config
    capability = status.capability if status.capability is not None else before.capability
    return msgspec.structs.replace(status, config=config, capability=capability)


def _failed(
    instance: Instance, before: ModelStatus | None, now: float, policy: FleetPolicy
) -> Instance:
    """A failed model waits: for the neuron's own next try, or for ours after a backoff.

    A heartbeat repeats the same failure every few seconds; only a new one starts a new wait.
    """
    status = instance.status
    assert status is not None
    pending = instance.pending
    if pending is not None and isinstance(pending.command, LoadModel):
        if not pending.accepted:
            return instance  # said before the load reached the neuron
        instance = replace(instance, pending=None)
    seen = before is not None and before.state is ModelState.FAILED
    if seen and before is not None and before.failures == status.failures:
        return instance
    if status.retry_after_s is not None:
        wait_s = status.retry_after_s + OWN_RETRY_MARGIN_S
        return replace(instance, recovering=True, not_before_s=now + wait_s)
    wait_s = policy.retry.bound_s(max(status.failures - 1, 0))
    return replace(instance, recovering=False, not_before_s=now + wait_s)


def _still_pending(pending: Pending | None, status: ModelStatus) -> Pending | None:
    """Return the command if the report does not show its effect yet."""
    if pending is None:
        return None
    if isinstance(pending.command, LoadModel) and status.state in _UP:
        return None
    done = status.state in {ModelState.UNLOADED, ModelState.UNLOADING}
    if isinstance(pending.command, UnloadModel) and pending.accepted and done:
        return None
    return pending
