"""The life of one model's engine: what each event means in each phase. Pure.

    load ─► fetch ─► start ─► probe ─► serve ─► drain ─► stop
                └───────┴───────┴────────┴──► fail ─► (stop) ─► wait ─► load again

Everything here changes one record and adds commands to the turn.
"""

from dataclasses import replace

from msgspec.structs import replace as replace_struct

from helexa.neuron.registry.commands import CheckEngine, OpenSeats, ProbeEngine, RunningModel
from helexa.neuron.registry.ending import (
    cancel_fetch,
    close_seats,
    crash,
    drain,
    end_drain,
    fail,
    stop,
)
from helexa.neuron.registry.events import (
    Drained,
    EngineAnswered,
    EngineCondemned,
    EngineEvent,
    EngineExited,
    EngineFailed,
    EngineMissed,
    EngineReady,
    EngineSpawned,
)
from helexa.neuron.registry.ground import Ground
from helexa.neuron.registry.loading import begin_load, start
from helexa.neuron.registry.record import ModelRecord, Phase, Turn
from helexa.protocol.lifecycle import ModelState


def unload(record: ModelRecord, turn: Turn, ground: Ground, drain_s: float | None = None) -> None:
    """Bring the model to rest from wherever it is; asking again changes nothing."""
    record.wanted = False
    record.retry_at = None
    if record.state is ModelState.FAILED:
        record.enter(ModelState.UNLOADED, record.phase)
        turn.report(record)
        rest(record, turn, ground)
    elif record.state is ModelState.LOADED:
        cancel_fetch(record, turn)
        record.enter(ModelState.UNLOADING, Phase.DRAINING)
        because = f"model {record.model_id!r} is being unloaded"
        drain(record, turn, ground, because, drain_s)
        turn.report(record)
    elif record.state is ModelState.LOADING:
        _unload_loading(record, turn, ground)
    else:
        rest(record, turn, ground)


def _unload_loading(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    cancel_fetch(record, turn)
    record.fetched = None
    if record.phase is Phase.FETCHING:
        # Each step is told: a cortex holds a neuron to the lifecycle, too.
        record.enter(ModelState.UNLOADING, Phase.STOPPING)
        turn.report(record)
        record.enter(ModelState.UNLOADED, Phase.IDLE)
        turn.report(record)
        rest(record, turn, ground)
    elif record.phase in {Phase.STARTING, Phase.PROBING}:
        record.enter(ModelState.UNLOADING, Phase.STOPPING)
        stop(record, turn, grace_s=0.0)
        turn.report(record)
    else:
        record.enter(ModelState.UNLOADING, record.phase)
        turn.report(record)


def rest(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """Nothing runs: forget the model or load it again, if that was asked meanwhile."""
    if record.phase is not Phase.IDLE or record.state is not ModelState.UNLOADED:
        return
    if record.forgetting:
        ground.forgotten(record.model_id)
    elif record.wanted:
        begin_load(record, turn, ground)


def on_engine(record: ModelRecord, event: EngineEvent, turn: Turn, ground: Ground) -> None:
    """Apply news of the engine in flight; news of an earlier process are ignored."""
    if event.attempt != record.engine_attempt:
        return
    phase = record.phase
    if isinstance(event, EngineExited):
        _exited(record, event, turn, ground)
    elif phase is Phase.STARTING and isinstance(event, EngineSpawned):
        _spawned(record, event, turn)
    elif phase is Phase.PROBING and isinstance(event, EngineReady):
        _ready(record, event, turn, ground)
    elif phase in {Phase.STARTING, Phase.PROBING} and isinstance(event, EngineFailed):
        _failed(record, event, turn, ground)
    elif phase is Phase.DRAINING and isinstance(event, Drained):
        end_drain(record, turn, ground)
    elif phase is Phase.SERVING and isinstance(
        event, EngineAnswered | EngineMissed | EngineCondemned
    ):
        _checked(record, event, turn, ground)


def _failed(record: ModelRecord, event: EngineFailed, turn: Turn, ground: Ground) -> None:
    tail, permanent = event.log_tail, event.permanent
    fail(record, event.because, turn, ground, log_tail=tail, permanent=permanent)


def _spawned(record: ModelRecord, event: EngineSpawned, turn: Turn) -> None:
    assert record.capability is not None
    model = RunningModel(
        model_id=record.model_id,
        engine=record.about.engine,
        endpoint=event.endpoint,
        headers=event.headers,
        config=record.about,
        capability=record.capability,
        worker_id=f"{record.model_id}#{event.attempt}",
        attempt=event.attempt,
    )
    record.serving = model
    record.phase = Phase.PROBING
    turn.add(ProbeEngine(model=model, cause=turn.cause))


def _ready(record: ModelRecord, event: EngineReady, turn: Turn, ground: Ground) -> None:
    assert record.serving is not None
    model = record.serving
    estimate = model.capability.memory_bytes
    if event.memory_bytes is not None:
        # The larger of the two: what is allocated late must stay promised, and what an estimate
        # missed must be known.
        needed = max(event.memory_bytes, estimate or 0)
        capability = replace_struct(
            model.capability, memory_bytes=needed, memory_measured_bytes=event.memory_bytes
        )
        model = replace(model, capability=capability)
    record.serving = model
    record.capability = model.capability
    record.fetched = None
    record.enter(ModelState.LOADED, Phase.SERVING)
    record.checks_missed = 0
    record.check_at = turn.now + ground.limits.check_interval_s
    record.stable_at = turn.now + ground.limits.stable_s
    ground.health.spawned(record.model_id)
    turn.add(OpenSeats(model=model, cause=turn.cause))
    turn.report(record)


def _checked(
    record: ModelRecord,
    event: EngineAnswered | EngineMissed | EngineCondemned,
    turn: Turn,
    ground: Ground,
) -> None:
    if isinstance(event, EngineCondemned):
        crash(record, event.because, turn, ground)
        return
    record.check_at = turn.now + ground.limits.check_interval_s
    if isinstance(event, EngineAnswered):
        record.checks_missed = 0
        return
    record.checks_missed += 1
    if record.checks_missed >= ground.limits.checks_missed_max:
        missed = record.checks_missed
        crash(record, f"{missed} health checks failed in a row: {event.because}", turn, ground)


def _exited(record: ModelRecord, event: EngineExited, turn: Turn, ground: Ground) -> None:
    phase = record.phase
    record.engine_attempt = None
    record.serving = None
    if phase is Phase.SERVING:
        record.phase = Phase.IDLE
        crash(record, event.because, turn, ground, event.log_tail)
    elif phase in {Phase.STARTING, Phase.PROBING}:
        because = f"the engine ended before it was ready: {event.because}"
        fail(record, because, turn, ground, log_tail=event.log_tail)
    else:
        if phase is Phase.DRAINING:
            close_seats(record, event.because, turn)
        record.idle_timers()
        _stopped(record, event, turn, ground)


def _stopped(record: ModelRecord, event: EngineExited, turn: Turn, ground: Ground) -> None:
    if record.state is ModelState.FAILED:
        record.phase = Phase.IDLE
        if event.log_tail:
            record.log_tail = event.log_tail[-ground.limits.log_lines_max :]
        if record.wanted and record.retry_at is not None and turn.now >= record.retry_at:
            begin_load(record, turn, ground)
    elif record.state is ModelState.LOADING:
        if record.fetched is None:
            begin_load(record, turn, ground)
        else:
            start(record, turn, ground)
    else:
        changed = record.state is not ModelState.UNLOADED
        record.enter(ModelState.UNLOADED, Phase.IDLE)
        if changed:
            turn.report(record)
        rest(record, turn, ground)


def on_tick(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """Do what is due by `turn.now`."""
    now = turn.now
    if record.drain_until is not None and now >= record.drain_until:
        end_drain(record, turn, ground)
    if record.stable_at is not None and now >= record.stable_at:
        record.stable_at = None
        record.failures.forgive()
    if record.check_at is not None and now >= record.check_at:
        assert record.serving is not None
        # Armed again when the check is answered.
        record.check_at = None
        turn.add(CheckEngine(model=record.serving, cause=turn.cause))
    due = record.retry_at is not None and now >= record.retry_at
    if due and record.wanted and (record.state, record.phase) == (ModelState.FAILED, Phase.IDLE):
        begin_load(record, turn, ground)
