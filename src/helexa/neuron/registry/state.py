"""The registry of one neuron: `apply(event, now) -> commands` is its only way to change. Pure.

What it is not: the shell. It starts nothing, reads no clock and keeps no handle; the supervisor
does what the commands say and tells what became of it.
"""

from collections import OrderedDict
from typing import assert_never

import msgspec

from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.registry.commands import Answer, ArmTimer, Command, RunningModel, SaveConfigs
from helexa.neuron.registry.ending import cancel_fetch
from helexa.neuron.registry.events import (
    AskedEvent,
    CloseAsked,
    Event,
    LoadAsked,
    Restored,
    Tick,
    UnloadAsked,
    UpsertAsked,
    WeightsEvent,
)
from helexa.neuron.registry.health import HealthLog
from helexa.neuron.registry.life import on_engine, on_tick, unload
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.loading import (
    begin_load,
    fetch,
    foresee,
    on_weights,
    restart_loading,
)
from helexa.neuron.registry.memory import shortage
from helexa.neuron.registry.policy import Policy, Violation
from helexa.neuron.registry.record import ModelRecord, Phase, Turn
from helexa.protocol.control import ProvisioningResponse
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig, ModelStatus
from helexa.protocol.neuron import NeuronHealth

Taken = tuple[bool, str, str]
"""Accepted, because, rule."""


class RegistryState:
    """Every model that this neuron knows."""

    def __init__(self, policy: Policy, limits: Limits) -> None:
        self.limits = limits
        self.health = HealthLog()
        self._policy = policy
        self._records: dict[ModelId, ModelRecord] = {}
        self._answers: OrderedDict[CommandId, ProvisioningResponse] = OrderedDict()
        self._attempts = 0
        self._closing = False
        self._armed: float | None = None
        self._unsaved = False

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def running(self, model_id: str) -> RunningModel | None:
        """Return the engine that may be sent this model's requests; None where there is none."""
        record = self._records.get(ModelId(model_id))
        return record.running if record else None

    def refusal(self, model_id: str) -> Refusal:
        """Say why `running` has none, as it is told to a caller."""
        record = self._records.get(ModelId(model_id))
        if record is None:
            return Refusal(
                ErrorCode.MODEL_NOT_FOUND, f"model {model_id!r} is not known to this neuron"
            )
        if self._closing:
            return Refusal(ErrorCode.SHUTTING_DOWN, "the neuron is shutting down")
        detail = f": {record.because}" if record.because else ""
        code = (
            ErrorCode.MODEL_LOADING
            if record.state is ModelState.LOADING
            else ErrorCode.SERVICE_UNAVAILABLE
        )
        return Refusal(code, f"model {model_id!r} is {record.state}{detail}")

    def statuses(self, now: float, *, with_config: bool = False) -> tuple[ModelStatus, ...]:
        """Return the status of every known model, by id."""
        return tuple(
            self._with_pace(self._records[model_id].status(now, with_config=with_config))
            for model_id in sorted(self._records)
        )

    def _with_pace(self, status: ModelStatus) -> ModelStatus:
        """Put what was measured of a model's speed in the place of what its engine is set to."""
        pace = self.health.pace_of(status.model_id)
        if pace is None or status.capability is None:
            return status
        capability = msgspec.structs.replace(status.capability, tokens_per_second=pace)
        return msgspec.structs.replace(status, capability=capability)

    def configs(self) -> tuple[ModelConfig, ...]:
        """Return the config of every known model, by id."""
        return tuple(self._records[model_id].config for model_id in sorted(self._records))

    def log_tail(self, model_id: str) -> tuple[str, ...]:
        """Return the last lines of the engine that failed last; empty where none did."""
        record = self._records.get(ModelId(model_id))
        return record.log_tail if record else ()

    def read_health(self, now: float) -> NeuronHealth:
        """Return the neuron's health; every model that failed is a problem."""
        problems = tuple(
            f"model {record.model_id!r} failed: {record.because}"
            for record in self._records.values()
            if record.state is ModelState.FAILED
        )
        return self.health.read(now, problems)

    @property
    def at_rest(self) -> bool:
        """No engine runs and none is being started or stopped."""
        return all(record.phase is Phase.IDLE for record in self._records.values())

    @property
    def held_bytes(self) -> int:
        """Memory that all models use or were promised."""
        return sum(record.held_bytes for record in self._records.values())

    # ── the one way to change ─────────────────────────────────────────────────────────────────

    def apply(self, event: Event, now: float) -> list[Command]:
        """Apply one event; return what is to be done, in this order."""
        turn = Turn(now, event.cause)
        if isinstance(event, UpsertAsked | LoadAsked | UnloadAsked):
            self._asked(event, turn)
        elif isinstance(event, Restored):
            self._restore(event.configs, turn)
        elif isinstance(event, CloseAsked):
            self._close(event.drain_s, turn)
        elif isinstance(event, Tick):
            self._armed = None
            for record in list(self._records.values()):
                turn.cause = event.cause or record.cause
                on_tick(record, turn, self)
        else:
            record = self._records.get(event.model_id)  # type: ignore[assignment]
            if record is not None:
                turn.cause = event.cause or record.cause
                if isinstance(event, WeightsEvent):
                    on_weights(record, event, turn, self)
                else:
                    on_engine(record, event, turn, self)
        if self._unsaved:
            self._unsaved = False
            turn.add(SaveConfigs(configs=self.configs(), cause=turn.cause))
        self._arm(turn)
        for record in self._records.values():
            record.check()
        return turn.commands

    def _asked(self, event: AskedEvent, turn: Turn) -> None:
        known = self._answers.get(event.command_id)
        if known is not None:
            turn.add(Answer(response=known, cause=turn.cause))
            return
        model_id = event.config.id if isinstance(event, UpsertAsked) else event.model_id
        # Answered before the command is carried out, so that "begun" reaches the cortex before
        # "ended" does.
        place = len(turn.commands)
        if self._closing:
            taken: Taken = (False, "the neuron is shutting down", "")
        elif isinstance(event, UpsertAsked):
            taken = self._upsert(event.config, turn)
        elif isinstance(event, LoadAsked):
            taken = self._load(event.model_id, turn)
        elif isinstance(event, UnloadAsked):
            taken = self._unload(event, turn)
        else:
            assert_never(event)
        accepted, because, rule = taken
        if accepted:
            self.health.applied(model_id)
        elif model_id in self._records:
            self.health.apply_failed(model_id)
        response = ProvisioningResponse(
            command_id=event.command_id,
            model_id=model_id,
            accepted=accepted,
            because=because,
            rule=rule,
        )
        self._answers[event.command_id] = response
        while len(self._answers) > self.limits.command_ids_max:
            self._answers.popitem(last=False)
        turn.commands.insert(place, Answer(response=response, cause=turn.cause))

    # ── upsert ────────────────────────────────────────────────────────────────────────────────

    def _upsert(self, config: ModelConfig, turn: Turn) -> Taken:
        violation = self._policy.violation(config)
        if violation is not None:
            return _refused(violation)
        record = self._records.get(config.id)
        if record is None:
            if len(self._records) >= self.limits.models_max:
                return (False, f"{self.limits.models_max} models are known already", "")
            record = ModelRecord(config=config, about=config, cause=turn.cause)
            self._records[config.id] = record
            self._unsaved = True
            foresee(record, turn, self)
            turn.report(record)
            return (True, "", "")
        record.forgetting = False
        if record.config == config:
            return (True, "nothing changed", "")
        record.config = config
        if record.state is ModelState.UNLOADED:
            record.about = config
            if record.phase is Phase.IDLE:
                foresee(record, turn, self)
        self._unsaved = True
        turn.report(record)
        return (
            True,
            "runs with its new config once it is loaded again" if record.stale else "",
            "",
        )

    def _restore(self, configs: tuple[ModelConfig, ...], turn: Turn) -> None:
        for config in configs[: self.limits.models_max]:
            # Known again, not loaded; a config that the policy forbids by now stays visible and
            # is refused when it is asked to run.
            record = self._records.setdefault(config.id, ModelRecord(config=config, about=config))
            if self._policy.violation(config) is None:
                foresee(record, turn, self)

    # ── load ──────────────────────────────────────────────────────────────────────────────────

    def _load(self, model_id: ModelId, turn: Turn) -> Taken:
        record = self._records.get(model_id)
        if record is None:
            return (False, f"model {model_id!r} is not known: send its config first", "")
        violation = self._policy.violation(record.config)
        if violation is not None:
            return _refused(violation)
        record.cause = turn.cause
        refusal = self._cannot_begin(record, turn.now)
        if refusal is not None:
            return refusal
        record.wanted = True
        record.forgetting = False
        if record.state is ModelState.LOADED:
            return self._reload(record, turn)
        if record.state is ModelState.LOADING:
            if record.stale:
                restart_loading(record, turn, self)
            return (True, "it is being loaded", "")
        return self._begin(record, turn)

    def _begin(self, record: ModelRecord, turn: Turn) -> Taken:
        """Nothing serves: load now, or as soon as that can be."""
        if record.stale:
            record.failures.forgive()
            record.retry_at = None
        wait_s = 0.0 if record.retry_at is None else record.retry_at - turn.now
        if record.state is ModelState.FAILED and wait_s > 0:
            return (True, f"is tried again in {wait_s:.1f} s", "")
        if record.phase is Phase.IDLE:
            begin_load(record, turn, self)
            return (True, "", "")
        record.retry_at = turn.now
        return (True, "begins when the engine before it has stopped", "")

    def _reload(self, record: ModelRecord, turn: Turn) -> Taken:
        """The model serves: fetch what its new config needs while it goes on serving."""
        if not record.stale:
            cancel_fetch(record, turn)
            return (True, "it is loaded", "")
        if record.fetching is None or record.fetching.digest() != record.config.digest():
            cancel_fetch(record, turn)
            fetch(record, turn, self)
        return (True, "is loaded anew with its new config", "")

    def _cannot_begin(self, record: ModelRecord, now: float) -> Taken | None:
        """Refuse at once what is known to fail: no memory for it, or failed too lately."""
        at_rest = record.state in {ModelState.UNLOADED, ModelState.FAILED}
        if not at_rest or record.stale:
            return None
        needed = record.capability.memory_bytes if record.capability else None
        short = self.shortage(record, needed)
        if short is not None:
            return (False, short, "")
        waits = record.state is ModelState.FAILED and record.retry_at is not None
        if not waits or (record.wanted and not record.failures.looping):
            return None
        assert record.retry_at is not None
        if now >= record.retry_at:
            return None
        return (
            False,
            f"not tried again within {record.retry_at - now:.1f} s: {record.because}",
            "",
        )

    # ── unload and close ──────────────────────────────────────────────────────────────────────

    def _unload(self, event: UnloadAsked, turn: Turn) -> Taken:
        record = self._records.get(event.model_id)
        if record is None:
            return (True, "it is not known", "")
        record.cause = turn.cause
        record.forgetting = record.forgetting or event.forget
        text = "" if record.state is not ModelState.UNLOADED else "it is not loaded"
        unload(record, turn, self, event.drain_s)
        return (True, text, "")

    def _close(self, drain_s: float, turn: Turn) -> None:
        self._closing = True
        for record in list(self._records.values()):
            unload(record, turn, self)
            if record.phase is Phase.DRAINING and record.drain_until is not None:
                record.drain_until = min(record.drain_until, turn.now + drain_s)

    # ── what all models share (ground.Ground) ─────────────────────────────────────────────────

    def engine(self, config: ModelConfig) -> EngineDescription:
        """Return the description of a config's engine."""
        return self._policy.engines[config.engine]

    def new_attempt(self) -> int:
        """Return a number that no fetch and no engine had before."""
        self._attempts += 1
        return self._attempts

    def shortage(self, record: ModelRecord, needed_bytes: int | None) -> str | None:
        """Say why a model that needs so much does not fit beside the others, or None."""
        budget = self.limits.memory_budget_bytes
        return shortage(needed_bytes, budget - (self.held_bytes - record.held_bytes), budget)

    def forgotten(self, model_id: ModelId) -> None:
        """Drop a record that is at rest."""
        del self._records[model_id]
        self.health.forget(model_id)
        self._unsaved = True

    # ── timer ─────────────────────────────────────────────────────────────────────────────────

    def _arm(self, turn: Turn) -> None:
        deadlines = (record.deadline for record in self._records.values())
        at = min((at for at in deadlines if at is not None), default=None)
        if at is not None and at != self._armed:
            self._armed = at
            turn.add(ArmTimer(at=at))


def _refused(violation: Violation) -> Taken:
    return (False, violation.because, violation.rule)
