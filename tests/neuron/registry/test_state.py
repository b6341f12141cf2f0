"""The registry as a whole: commands once, many models, memory, configs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.neuron.registry import commands as c
from helexa.neuron.registry import events as e
from helexa.neuron.registry.limits import Limits
from helexa.protocol.errors import ErrorCode
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState, is_legal
from helexa.protocol.model import ModelConfig
from tests.fakes.engines import GIB
from tests.fakes.registry import M, Script, answer, config, none_of, only


def test_the_same_command_is_answered_again_but_done_once():
    """F19: a replayed load starts nothing."""
    script = Script()
    script.upsert()
    load = e.LoadAsked(command_id=CommandId("x"), model_id=M)
    first = script.send(load)
    again = script.send(load)
    assert answer(first) == answer(again)
    assert len(first) > 1
    assert none_of(again, c.FetchWeights, c.StartEngine, c.ReportStatus)


def test_an_answer_comes_before_what_follows_from_it():
    script = Script()
    script.upsert()
    assert isinstance(script.load()[0], c.Answer)


def test_memory_of_answered_commands_is_bounded():
    script = Script(Limits(memory_budget_bytes=GIB, command_ids_max=10))
    for _ in range(50):
        script.load()
    assert len(script.state._answers) == 10


def test_a_load_of_an_unknown_model_is_refused():
    found = answer(Script().load())
    assert not found.accepted
    assert "not known" in found.because


def test_an_upsert_is_kept_and_an_equal_one_is_not_saved_again():
    """R1.17, R2.16: a config is written when it changes."""
    script = Script()
    assert only(script.upsert(), c.SaveConfigs).configs == (config(),)
    assert none_of(script.upsert(), c.SaveConfigs)
    assert only(script.upsert(config(seats=4)), c.SaveConfigs).configs == (config(seats=4),)


def test_restored_configs_are_known_and_not_loaded():
    """R1.17: a restarted neuron still knows its models, and starts none by itself."""
    script = Script()
    forbidden = ModelConfig(id=ModelId("bad"), engine="unknown", source="x.gguf")
    found = script.send(e.Restored(configs=(config(), forbidden)))
    assert [type(command) for command in found] == [c.LookAtWeights]
    assert found[0].model_id == M
    assert script.status().state is ModelState.UNLOADED
    assert script.state.statuses(0.0, with_config=True)[-1].config == config()
    assert answer(script.load()).accepted


def test_a_loaded_model_resolves_to_its_engine_and_an_unloaded_one_does_not():
    """R1.14, R1.15, R2.14: model id → endpoint and worker; gone once it is unloaded."""
    script = Script()
    assert script.state.running("m") is None
    attempt = script.bring_up()
    running = script.state.running("m")
    assert running is not None
    assert (running.endpoint, running.engine) == ("http://127.0.0.1:9", "tiny")
    assert running.worker_id == f"m#{attempt}"
    script.unload()
    assert script.state.running("m") is None
    assert script.state.refusal("m").code is ErrorCode.SERVICE_UNAVAILABLE


def test_each_start_has_a_worker_id_of_its_own():
    script = Script()
    first = script.bring_up()
    script.exited(first)
    second = script.go_on(script.tick(60.0))
    assert script.state.running("m").worker_id == f"m#{second}" != f"m#{first}"


def test_different_models_load_at_the_same_time():
    """F15: one slow load does not delay another model."""
    script = Script()
    script.upsert(config("slow"))
    script.upsert(config("quick"))
    script.load("slow")
    script.go_on(script.load("quick"))
    assert script.status("quick").state is ModelState.LOADED
    assert script.status("slow").state is ModelState.LOADING


def test_a_load_that_does_not_fit_is_refused_with_numbers():
    script = Script()
    script.bring_up(config("big", memory_gib=6.9))
    script.upsert(config(memory_gib=21.4))
    script.fetched(script.load())
    assert script.status().state is ModelState.FAILED
    assert script.status().because == "needs 21.4 GiB; 15.1 free of 22.0"
    assert script.status().retry_after_s is None
    refused = answer(script.load())
    assert not refused.accepted
    assert refused.because == "needs 21.4 GiB; 15.1 free of 22.0"


def test_memory_is_promised_while_a_model_loads_and_free_again_when_it_is_gone():
    script = Script()
    script.upsert(config("first", memory_gib=12))
    loading = script.fetched(script.load("first"))
    script.upsert(config(memory_gib=12))
    script.fetched(script.load())
    assert script.status().state is ModelState.FAILED
    script.spawned(loading)
    stop = only(script.unload("first"), c.StopEngine)
    script.exited(stop.attempt, model_id=stop.model_id)
    script.tick(60.0)
    script.go_on(script.load())
    assert script.status().state is ModelState.LOADED
    assert script.state.held_bytes == 12 * GIB


def test_measured_memory_counts_where_it_is_more_than_was_estimated():
    """R2.9: estimated before the load, measured after it."""
    script = Script()
    script.upsert(config(memory_gib=1))
    script.ready(script.spawned(script.fetched(script.load())), memory_bytes=3 * GIB)
    assert script.status().capability.memory_bytes == 3 * GIB
    assert script.status().capability.memory_measured_bytes == 3 * GIB
    assert script.state.held_bytes == 3 * GIB


def test_measured_pace_takes_the_place_of_what_an_engine_is_set_to():
    script = Script()
    script.bring_up()
    assert script.status().capability.tokens_per_second is None
    script.state.health.request_ended(
        script.now, 5.0, failed=False, model_id="m", tokens_per_second=30.0
    )
    assert script.status().capability.tokens_per_second == 30.0


def test_a_config_that_breaks_a_rule_is_refused_with_its_number():
    script = Script()
    bad = config(unheard_of=1)
    found = answer(script.upsert(bad))
    assert (found.accepted, found.rule) == (False, "R2")
    assert script.state.configs() == ()


def test_a_restored_config_that_is_forbidden_by_now_does_not_run():
    script = Script()
    script.send(e.Restored(configs=(config(unheard_of=1),)))
    found = answer(script.load())
    assert (found.accepted, found.rule) == (False, "R2")


def test_no_more_models_are_known_than_allowed():
    script = Script(Limits(memory_budget_bytes=GIB, models_max=2))
    assert answer(script.upsert(config("a"))).accepted
    assert answer(script.upsert(config("b"))).accepted
    assert not answer(script.upsert(config("c"))).accepted
    assert answer(script.upsert(config("a", seats=3))).accepted


def test_forgetting_drops_the_config_once_the_engine_is_gone():
    script = Script()
    attempt = script.bring_up()
    script.unload(forget=True)
    script.send(e.Drained(model_id=M, attempt=attempt))
    assert script.state.configs() == (config(),)
    assert only(script.exited(attempt), c.SaveConfigs).configs == ()
    assert script.state.statuses(0.0) == ()


def test_closing_stops_all_and_takes_nothing_new():
    script = Script()
    attempt = script.bring_up()
    script.upsert(config("other"))
    script.load("other")
    found = script.send(e.CloseAsked(drain_s=2.0))
    assert script.state.refusal("m").code is ErrorCode.SHUTTING_DOWN
    assert only(found, c.CancelFetch)
    assert not script.state.at_rest
    assert only(script.tick(2.0), c.StopEngine).attempt == attempt
    script.exited(attempt)
    assert script.state.at_rest
    assert not answer(script.load()).accepted
    assert none_of(script.tick(1000.0), c.StartEngine, c.FetchWeights)


def test_failed_commands_and_starts_show_in_the_health():
    """R2.6."""
    script = Script()
    attempt = script.bring_up()
    script.exited(attempt)
    script.upsert(config(unheard_of=1))
    health = script.state.read_health(script.now)
    assert health.failed_spawns == {M: 1}
    assert health.failed_applies == {M: 1}
    assert "m" in health.problems[0]
    script.go_on(script.tick(60.0))
    assert script.state.read_health(script.now).failed_spawns == {}


# ── anything in any order ─────────────────────────────────────────────────────────────────────

MODELS = ("a", "b")
KINDS = (
    *["go on"] * 12, *["load"] * 4, "upsert", "upsert", "unload", "fetched", "spawned", "ready",
    "failed", "exited", "missed", "condemned", "drained", "weights_failed", "progress", "tick",
    "tick",
)  # fmt: skip
NEXT = {
    "fetching": "fetched", "starting": "spawned", "probing": "ready", "draining": "drained",
    "stopping": "exited", "serving": "load", "idle": "tick",
}  # fmt: skip
STEP = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(MODELS),
    st.integers(0, 400),  # command id; also the choice of attempt and of detail
    st.sampled_from((0.0, 0.5, 20.0, 400.0)),
)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEP, min_size=1, max_size=80))
def test_no_order_of_events_breaks_the_registry(steps):
    """F19: duplicates, late and reordered events; the record's own checks run after each one."""
    script = Script(Limits(memory_budget_bytes=4 * GIB, drain_s=5.0, crashes_max=3))
    for model_id in MODELS:
        script.upsert(config(model_id, memory_gib=2))
    states: dict[str, ModelState] = {}
    started: set[int] = set()
    for kind, model_id, number, pause_s in steps:
        found = script.send(event_of(script, kind, model_id, number))
        script.now += pause_s
        for command in found:
            if isinstance(command, c.ReportStatus):
                status = command.status
                before = states.get(status.model_id, ModelState.UNLOADED)
                assert is_legal(before, status.state), f"{before} to {status.state}"
                states[status.model_id] = status.state
            if isinstance(command, c.StartEngine):
                assert command.attempt not in started
                started.add(command.attempt)
        assert script.state.held_bytes <= 4 * GIB
        for status in script.state.statuses(script.now):
            loaded = status.state is ModelState.LOADED
            assert (script.state.running(status.model_id) is not None) == loaded


def event_of(script: Script, kind: str, model_id: str, number: int) -> e.Event:
    """An event that mostly fits what is under way, and sometimes does not."""
    command_id, odd = CommandId(f"c{number}"), bool(number % 2)
    record = script.state._records.get(ModelId(model_id))
    if kind == "go on":
        reloading = record is not None and record.fetching is not None
        kind = "fetched" if reloading else NEXT[record.phase if record is not None else "idle"]
    fetch = engine = number
    if record is not None and number % 7:
        fetch, engine = record.fetch_attempt or number, record.engine_attempt or number
    asked = {"command_id": command_id, "model_id": ModelId(model_id)}
    fetching = {"model_id": ModelId(model_id), "attempt": fetch}
    running = {"model_id": ModelId(model_id), "attempt": engine}
    makers = {
        "upsert": lambda: e.UpsertAsked(
            command_id=command_id, config=config(model_id, memory_gib=1 + number % 3)
        ),
        "load": lambda: e.LoadAsked(**asked),
        "unload": lambda: e.UnloadAsked(**asked, forget=odd),
        "fetched": lambda: e.WeightsReady(**fetching, weights=e.NO_WEIGHTS),
        "weights_failed": lambda: e.WeightsFailed(**fetching, because="x", retryable=odd),
        "progress": lambda: e.WeightsProgress(**fetching, ratio=0.5),
        "spawned": lambda: e.EngineSpawned(**running, endpoint="http://127.0.0.1:9"),
        "ready": lambda: e.EngineReady(**running),
        "failed": lambda: e.EngineFailed(**running, because="x", permanent=odd),
        "exited": lambda: e.EngineExited(**running, because="x"),
        "missed": lambda: e.EngineMissed(**running, because="x"),
        "condemned": lambda: e.EngineCondemned(**running, because="x"),
        "drained": lambda: e.Drained(**running),
        "tick": e.Tick,
    }
    return makers[kind]()
