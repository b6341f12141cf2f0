"""How a model comes up: its weights are fetched, it is seen to fit, its engine is started. Pure."""

from helexa.neuron.registry.commands import FetchWeights, LookAtWeights, StartEngine
from helexa.neuron.registry.ending import cancel_fetch, drain, fail, stop
from helexa.neuron.registry.events import (
    NO_WEIGHTS,
    FetchedWeights,
    WeightsEvent,
    WeightsFailed,
    WeightsProgress,
    WeightsSeen,
)
from helexa.neuron.registry.ground import Ground
from helexa.neuron.registry.record import ModelRecord, Phase, Turn
from helexa.protocol.lifecycle import ModelState


def foresee(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """Find out what a model at rest will be able to do, as far as its weights are here."""
    record.capability = None
    config = record.config
    if config.source is None:
        weights_seen(record, WeightsSeen(model_id=config.id, source="", summary=None), ground)
        return
    turn.add(
        LookAtWeights(
            model_id=config.id, source=config.source, engine=config.engine, cause=turn.cause
        )
    )


def weights_seen(record: ModelRecord, event: WeightsSeen, ground: Ground) -> bool:
    """Take what a header says of a model that is still at rest; True if that is news."""
    config = record.config
    at_rest = record.state is ModelState.UNLOADED and record.phase is Phase.IDLE
    if not at_rest or record.capability is not None or event.source != (config.source or ""):
        return False
    try:
        record.capability = ground.engine(config).capability(config, event.summary)
    except Exception:  # noqa: BLE001  # odd weights or options: a load will say what is wrong
        return False
    return True


def begin_load(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """From rest (or for a load that begins anew): fetch, then start."""
    record.about = record.config
    record.log_tail = ()
    record.retry_at = None
    record.fetched = None
    record.capability = None
    record.enter(ModelState.LOADING, Phase.FETCHING)
    fetch(record, turn, ground)
    if record.phase is Phase.FETCHING:
        turn.report(record)


def fetch(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """Ask for the weights of `record.config`; an engine without any goes on at once."""
    record.fetch_attempt = ground.new_attempt()
    record.fetching = record.config
    if record.config.source is None:
        weights_in(record, NO_WEIGHTS, turn, ground)
        return
    turn.add(
        FetchWeights(
            model_id=record.model_id,
            attempt=record.fetch_attempt,
            source=record.config.source,
            engine=record.config.engine,
            cause=turn.cause,
        )
    )


def weights_in(record: ModelRecord, weights: FetchedWeights, turn: Turn, ground: Ground) -> None:
    """Weights are here: start if the model fits, or make way for a reload."""
    assert record.fetching is not None
    config = record.fetching
    record.fetch_attempt = record.fetching = None
    try:
        capability = ground.engine(config).capability(config, weights.summary)
    except Exception as error:  # noqa: BLE001  # odd weights or options must not end the neuron
        cannot_run(record, f"the engine cannot use these weights: {error}", turn, ground)
        return
    short = ground.shortage(record, capability.memory_bytes)
    if record.state is ModelState.LOADED:
        if short is not None:
            cannot_run(record, short, turn, ground)
            return
        record.about, record.capability, record.fetched = config, capability, weights
        record.enter(ModelState.LOADING, Phase.DRAINING, "waits for running requests")
        drain(record, turn, ground, "the model is being reloaded")
        turn.report(record)
        return
    record.capability = capability
    if short is not None:
        cannot_run(record, short, turn, ground)
        return
    record.fetched = weights
    start(record, turn, ground)


def cannot_run(
    record: ModelRecord, because: str, turn: Turn, ground: Ground, *, permanent: bool = True
) -> None:
    """The config cannot be run: the load failed; or, for a reload, the earlier one goes on."""
    if record.state is ModelState.LOADED:
        record.because = f"reload failed, the earlier config still runs: {because}"
        turn.report(record)
    else:
        fail(record, because, turn, ground, permanent=permanent)


def start(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """Start the engine with the weights that are here."""
    assert record.fetched is not None
    assert record.capability is not None
    record.engine_attempt = ground.new_attempt()
    record.enter(ModelState.LOADING, Phase.STARTING)
    turn.add(
        StartEngine(
            model_id=record.model_id,
            attempt=record.engine_attempt,
            config=record.about,
            weights=record.fetched,
            capability=record.capability,
            cause=turn.cause,
        )
    )
    turn.report(record)


def on_weights(record: ModelRecord, event: WeightsEvent, turn: Turn, ground: Ground) -> None:
    """Apply news of the fetch in flight; news of an earlier one are ignored."""
    if isinstance(event, WeightsSeen):
        if weights_seen(record, event, ground):
            turn.report(record)
        return
    if event.attempt != record.fetch_attempt:
        return
    if isinstance(event, WeightsProgress):
        if record.state is ModelState.LOADING:
            record.progress = event.ratio
            record.because = event.text
            turn.report(record)
    elif isinstance(event, WeightsFailed):
        record.fetch_attempt = record.fetching = None
        cannot_run(record, event.because, turn, ground, permanent=not event.retryable)
    else:
        weights_in(record, event.weights, turn, ground)


def restart_loading(record: ModelRecord, turn: Turn, ground: Ground) -> None:
    """A load is under way with an older config: go on with the new one."""
    cancel_fetch(record, turn)
    record.fetched = None
    record.about = record.config
    if record.phase is Phase.FETCHING:
        begin_load(record, turn, ground)
    elif record.phase in {Phase.STARTING, Phase.PROBING}:
        record.enter(ModelState.LOADING, Phase.STOPPING, "starts anew with a new config")
        stop(record, turn, grace_s=0.0)
        turn.report(record)
