"""How a model comes up: which commands follow which events."""

from helexa.neuron.registry import commands as c
from helexa.neuron.registry import events as e
from helexa.protocol.lifecycle import ModelState
from tests.fakes.engines import GIB
from tests.fakes.registry import SOURCE, M, Script, answer, config, none_of, only


def test_a_load_fetches_starts_probes_and_opens_seats():
    """R1.16, R2.17: provisioning commands become work of the process manager and the registry."""
    script = Script()
    script.upsert()
    fetching = script.load()
    assert only(fetching, c.FetchWeights).source == SOURCE
    assert only(fetching, c.ReportStatus).status.state is ModelState.LOADING
    starting = script.fetched(fetching)
    order = only(starting, c.StartEngine)
    assert (order.config, order.weights.path) == (config(), "/srv/models/m.gguf")
    probing = script.spawned(starting)
    assert only(probing, c.ProbeEngine).model.attempt == order.attempt
    assert script.state.running("m") is None
    found = script.ready(probing)
    assert only(found, c.OpenSeats).model == script.state.running("m")
    assert only(found, c.ReportStatus).status.state is ModelState.LOADED
    seats_open = [type(command) for command in found].index(c.OpenSeats)
    assert seats_open < [type(command) for command in found].index(c.ReportStatus)


def test_an_engine_without_weights_starts_at_once():
    script = Script()
    script.upsert(config(source=None))
    assert only(script.load(), c.StartEngine).weights == e.NO_WEIGHTS


def seen(source: str = SOURCE) -> e.WeightsSeen:
    return e.WeightsSeen(model_id=M, source=source, summary=None)


def test_what_a_model_can_do_is_told_before_it_is_loaded_where_its_weights_are_here():
    """Lesson 43: discovered, also for unloaded models; without evidence nothing is claimed."""
    script = Script()
    upserted = script.upsert(config(seats=3))
    assert only(upserted, c.LookAtWeights).source == SOURCE
    assert only(upserted, c.ReportStatus).status.capability is None
    assert script.status().capability is None
    told = only(script.send(seen()), c.ReportStatus).status
    assert (told.state, told.capability.seats) == (ModelState.UNLOADED, 3)
    assert script.send(seen()) == []
    # Another config may be another model: what was known is known no more.
    script.upsert(config(seats=4))
    assert script.status().capability is None
    script.send(seen("elsewhere.gguf"))
    assert script.status().capability is None
    script.send(seen())
    assert script.status().capability.seats == 4


def test_an_engine_without_weights_tells_what_it_can_do_at_once():
    script = Script()
    upserted = script.upsert(config(source=None, seats=3))
    assert only(upserted, c.ReportStatus).status.capability.seats == 3
    assert none_of(upserted, c.LookAtWeights)


def test_a_look_that_comes_late_changes_nothing_of_a_load():
    script = Script()
    script.upsert()
    script.load()
    assert script.send(seen()) == []
    assert script.status().capability is None


def test_weights_that_an_engine_cannot_use_are_no_evidence_and_end_nothing():
    script = Script()
    script.upsert(config(seats="many"))
    assert script.send(seen()) == []
    assert script.status().capability is None


def test_loads_are_single_flight():
    """R2.17."""
    script = Script()
    script.upsert()
    fetching = script.load()
    again = script.load()
    assert answer(again).accepted
    assert none_of(again, c.FetchWeights)
    starting = script.fetched(fetching)
    assert none_of(script.load(), c.StartEngine, c.FetchWeights)
    script.ready(script.spawned(starting))
    assert none_of(script.load(), c.StartEngine, c.FetchWeights, c.ReportStatus)


def test_progress_is_reported_while_loading():
    script = Script()
    script.upsert()
    attempt = only(script.load(), c.FetchWeights).attempt
    event = e.WeightsProgress(model_id=M, attempt=attempt, ratio=0.25, text="download of weights")
    status = only(script.send(event), c.ReportStatus).status
    assert (status.progress, status.because) == (0.25, "download of weights")


def test_news_of_an_earlier_fetch_are_ignored():
    script = Script()
    script.upsert()
    old = only(script.load(), c.FetchWeights).attempt
    assert only(script.unload(), c.CancelFetch).attempt == old
    script.load()
    late = e.WeightsReady(model_id=M, attempt=old, weights=e.NO_WEIGHTS)
    assert script.send(late) == []


def test_weights_that_cannot_be_had_fail_the_load_with_the_reason():
    script = Script()
    script.upsert()
    attempt = only(script.load(), c.FetchWeights).attempt
    event = e.WeightsFailed(model_id=M, attempt=attempt, because="no such file", retryable=False)
    script.send(event)
    assert (script.status().state, script.status().because) == (ModelState.FAILED, "no such file")
    assert script.status().retry_after_s is None
    assert none_of(script.tick(3600.0), c.FetchWeights)


def test_a_fetch_that_time_may_heal_is_tried_again():
    script = Script()
    script.upsert()
    attempt = only(script.load(), c.FetchWeights).attempt
    event = e.WeightsFailed(model_id=M, attempt=attempt, because="no network", retryable=True)
    armed = only(script.send(event), c.ArmTimer)
    wait_s = script.status().retry_after_s
    assert wait_s is not None
    assert armed.at == script.now + wait_s
    assert none_of(script.tick(wait_s / 2), c.FetchWeights)
    assert only(script.tick(wait_s / 2), c.FetchWeights).attempt != attempt


def test_an_upsert_on_a_loaded_model_keeps_it_running():
    """The status' digest differs until the model is loaded again."""
    script = Script()
    attempt = script.bring_up()
    found = script.upsert(config(seats=7))
    assert none_of(found, c.StopEngine, c.DrainSeats, c.FetchWeights)
    assert script.state.running("m").attempt == attempt
    assert script.status().config_digest == config().digest() != config(seats=7).digest()


def test_a_load_after_an_upsert_swaps_the_engine_without_a_gap_for_the_download():
    script = Script()
    first = script.bring_up()
    script.upsert(config(seats=7))
    fetching = script.load()
    assert script.state.running("m") is not None
    draining = script.fetched(fetching)
    assert only(draining, c.DrainSeats).attempt == first
    assert script.status().state is ModelState.LOADING
    assert script.state.running("m") is None
    stopping = script.send(e.Drained(model_id=M, attempt=first))
    assert only(stopping, c.StopEngine).attempt == first
    starting = script.exited(first)
    assert only(starting, c.StartEngine).config == config(seats=7)
    script.go_on(starting)
    assert script.status().config_digest == config(seats=7).digest()
    assert script.state.running("m").capability.seats == 7


def test_a_reload_whose_weights_cannot_be_had_leaves_the_old_engine_running():
    script = Script()
    first = script.bring_up()
    script.upsert(config(source="models/other.gguf"))
    attempt = only(script.load(), c.FetchWeights).attempt
    script.send(e.WeightsFailed(model_id=M, attempt=attempt, because="gone", retryable=True))
    assert script.state.running("m").attempt == first
    assert "gone" in script.status().because
    assert script.status().config_digest == config().digest()


def test_a_reload_that_does_not_fit_leaves_the_old_engine_running():
    script = Script()
    first = script.bring_up(config(memory_gib=4))
    script.upsert(config(memory_gib=23))
    script.fetched(script.load())
    assert script.state.running("m").attempt == first
    assert "23.0 GiB" in script.status().because


def test_a_reload_may_use_the_memory_of_the_engine_that_it_replaces():
    script = Script()
    first = script.bring_up(config(memory_gib=12))
    script.upsert(config(memory_gib=20))
    script.fetched(script.load())
    assert script.state.held_bytes == 20 * GIB
    script.send(e.Drained(model_id=M, attempt=first))
    script.go_on(script.exited(first))
    assert script.status().state is ModelState.LOADED


def test_two_upserts_during_a_reload_fetch_the_latest():
    script = Script()
    script.bring_up()
    script.upsert(config(source="models/two.gguf"))
    second = script.load()
    assert none_of(script.load(), c.FetchWeights, c.CancelFetch)
    script.upsert(config(source="models/three.gguf"))
    found = script.load()
    assert only(found, c.CancelFetch).attempt == only(second, c.FetchWeights).attempt
    assert only(found, c.FetchWeights).source == "models/three.gguf"


def test_an_upsert_taken_back_cancels_the_reload():
    script = Script()
    first = script.bring_up()
    script.upsert(config(source="models/two.gguf"))
    script.load()
    script.upsert(config())
    assert only(script.load(), c.CancelFetch)
    assert script.state.running("m").attempt == first


def test_a_new_config_while_loading_starts_anew_with_it():
    script = Script()
    script.upsert()
    starting = script.fetched(script.load())
    attempt = only(starting, c.StartEngine).attempt
    script.upsert(config(source="models/new.gguf"))
    found = script.load()
    assert only(found, c.StopEngine).attempt == attempt
    assert only(script.exited(attempt), c.FetchWeights).source == "models/new.gguf"


def test_a_new_config_while_fetching_fetches_that():
    script = Script()
    script.upsert()
    first = only(script.load(), c.FetchWeights).attempt
    script.upsert(config(source="models/new.gguf"))
    found = script.load()
    assert only(found, c.CancelFetch).attempt == first
    assert only(found, c.FetchWeights).source == "models/new.gguf"


def test_weights_that_the_description_cannot_read_fail_one_model_only():
    script = Script()
    script.upsert(config(seats="many"))
    script.fetched(script.load())
    assert script.status().state is ModelState.FAILED
    assert "cannot use these weights" in script.status().because
