"""How a model's engine comes to an end: it fails, it drains, it is stopped. Pure."""

from helexa.neuron.registry.commands import CancelFetch, CloseSeats, DrainSeats, StopEngine
from helexa.neuron.registry.ground import Ground
from helexa.neuron.registry.record import ModelRecord, Phase, Turn
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.lifecycle import ModelState


def cancel_fetch(record: ModelRecord, turn: Turn) -> None:
    """Give up the fetch in flight, if there is one."""
    if record.fetch_attempt is not None:
        turn.add(
            CancelFetch(model_id=record.model_id, attempt=record.fetch_attempt, cause=turn.cause)
        )
        record.fetch_attempt = record.fetching = None


def fail(
    record: ModelRecord,
    because: str,
    turn: Turn,
    ground: Ground,
    *,
    log_tail: tuple[str, ...] = (),
    permanent: bool = False,
) -> None:
    """The load or the engine failed. The process, if there is one, is killed."""
    delay_s = record.failures.note(record.model_id, turn.now, ground.limits)
    if record.failures.looping:
        because = (
            f"crash loop: {ground.limits.crashes_max} failures within"
            f" {ground.limits.crash_window_s:g} s; the last: {because}"
        )
    record.retry_at = turn.now + delay_s
    record.wanted = record.wanted and not permanent
    record.fetched = None
    record.idle_timers()
    cancel_fetch(record, turn)
    alive = record.engine_attempt is not None
    record.enter(ModelState.FAILED, Phase.STOPPING if alive else Phase.IDLE, because)
    record.log_tail = log_tail[-ground.limits.log_lines_max :]
    ground.health.spawn_failed(record.model_id, turn.now)
    if alive:
        stop(record, turn, grace_s=0.0)
    turn.report(record)


def crash(
    record: ModelRecord, because: str, turn: Turn, ground: Ground, log_tail: tuple[str, ...] = ()
) -> None:
    """A serving engine is lost: nothing new is sent to it, and those that wait are told."""
    close_seats(record, because, turn)
    fail(record, because, turn, ground, log_tail=log_tail)


def close_seats(record: ModelRecord, because: str, turn: Turn) -> None:
    """Refuse those that wait for this engine."""
    refusal = Refusal(
        ErrorCode.SERVICE_UNAVAILABLE, f"model {record.model_id!r} is not served: {because}"
    )
    turn.add(CloseSeats(model_id=record.model_id, refusal=refusal, cause=turn.cause))


def drain(
    record: ModelRecord, turn: Turn, ground: Ground, because: str, drain_s: float | None = None
) -> None:
    """Let running requests end, but no longer than is allowed. The caller set the phase."""
    assert record.engine_attempt is not None
    record.idle_timers()
    limits = ground.limits
    allowed_s = limits.drain_s if drain_s is None else min(max(drain_s, 0.0), limits.drain_s_max)
    record.drain_until = turn.now + allowed_s
    refusal = Refusal(ErrorCode.SHUTTING_DOWN, because)
    turn.add(
        DrainSeats(
            model_id=record.model_id,
            attempt=record.engine_attempt,
            refusal=refusal,
            cause=turn.cause,
        )
    )


def stop(record: ModelRecord, turn: Turn, *, grace_s: float) -> None:
    """Stop the engine. The caller set the phase."""
    assert record.engine_attempt is not None
    turn.add(
        StopEngine(
            model_id=record.model_id,
            attempt=record.engine_attempt,
            grace_s=grace_s,
            cause=turn.cause,
        )
    )


def end_drain(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """Drained, or waited as long as is allowed: close what is left and stop the engine."""
    record.idle_timers()
    record.phase = Phase.STOPPING
    close_seats(record, "it is being stopped", turn)
    stop(record, turn, grace_s=ground.limits.stop_grace_s)
