"""Which neuron can hold a model, and what is said when none can."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.orchestrator.board import Board, gibibytes
from helexa.cortex.orchestrator.holding import booked_bytes
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.placement import Placement, minutes, offer, place, places
from helexa.cortex.orchestrator.rules import (
    ModelRules,
    PlacementRules,
    Priority,
    ProvisioningPolicy,
)
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    Instance,
    NeuronView,
    Outlook,
    Pending,
)
from helexa.protocol.control import LoadModel, UpsertModelConfig
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, model
from tests.fakes.views import board, desired, instance, neuron, placed_by

M = ModelId("m")


def placed(*neurons: NeuronView, now: float = 0.0, **config: object) -> Placement:
    wanted = model("m", **config)  # type: ignore[arg-type]
    board = Board.anew(neurons, {}, Outlook(), now)
    return place(DesiredModel(wanted, wanted.digest()), board, ever=False)


def test_the_neuron_with_most_free_memory_gets_the_model() -> None:
    assert placed(neuron("small", 4 * GIB), neuron("big", 16 * GIB)).neuron_id == "big"


def test_a_neuron_that_has_the_config_already_comes_first() -> None:
    knows = Instance(known_digest=model("m").digest())
    assert placed(neuron("knows", 4 * GIB, m=knows), neuron("big", 16 * GIB)).neuron_id == "knows"


def test_equal_neurons_share_the_models_out() -> None:
    pair = (neuron("a"), neuron("b"))
    board = Board.anew(pair, {}, Outlook(), 0.0)
    wanted = [model(f"model-{i}") for i in range(20)]
    chosen = {place(DesiredModel(w, w.digest()), board, ever=False).neuron_id for w in wanted}
    assert chosen == {"a", "b"}


def test_an_engine_that_is_not_allowed_is_named_with_those_that_are() -> None:
    outcome = placed(neuron("n1", engines=("vllm", "echo")), engine="llamacpp")
    assert outcome.neuron_id is None
    assert "n1: does not allow engine llamacpp (allows vllm, echo)" in outcome.because()


def test_memory_that_is_spoken_for_is_not_given_twice() -> None:
    loaded = instance(ModelState.LOADED, 6 * GIB)
    asked = instance(ModelState.UNLOADED, 3 * GIB)
    outcome = placed(neuron("n1", 8 * GIB, other=loaded, m=asked))
    assert outcome.neuron_id is None
    assert "needs 3.0 GiB" in outcome.because()
    assert "n1: 2.0 GiB free of 8.0 GiB" in outcome.because()


def test_a_load_under_way_books_its_memory() -> None:
    pending = Pending(CommandId("c"), LoadModel(model_id=ModelId("other")), 0.0, 10.0)
    coming = instance(ModelState.UNLOADED, 6 * GIB, pending=pending)
    asked = instance(ModelState.UNLOADED, 3 * GIB)
    assert placed(neuron("n1", 8 * GIB, other=coming, m=asked)).neuron_id is None


def test_a_config_under_way_books_nothing() -> None:
    pending = Pending(CommandId("c"), UpsertModelConfig(config=model("other")), 0.0, 10.0)
    view = neuron("n1", 8 * GIB, other=instance(ModelState.UNLOADED, 6 * GIB, pending=pending))
    assert booked_bytes(view, {}) == 0


def test_what_another_neuron_measured_is_used_where_nothing_better_is_known() -> None:
    measured = neuron(
        "gone", 8 * GIB, state=NeuronState.GONE, m=instance(ModelState.LOADED, 7 * GIB)
    )
    outcome = placed(measured, neuron("small", 4 * GIB))
    assert outcome.neuron_id is None
    assert "small: 4.0 GiB free of 4.0 GiB" in outcome.because()
    assert "gone: is gone" in outcome.because()


def test_a_model_of_unknown_need_is_given_a_try() -> None:
    """An attached server uses no memory of ours; a new model's need is not known yet."""
    assert placed(neuron("n1", 0)).neuron_id == "n1"


def test_a_wait_after_a_failure_is_honoured_and_told() -> None:
    waits = Instance(not_before_s=50.0, because="engine exited with status 1")
    outcome = placed(neuron("n1", m=waits), now=10.0)
    assert outcome.neuron_id is None
    assert outcome.next_attempt_s == 50.0
    assert "engine exited with status 1" in outcome.because()
    assert placed(neuron("n1", m=waits), now=50.0).neuron_id == "n1"


def test_without_neurons_the_reason_says_so() -> None:
    assert placed().because() == "no neuron is connected"


def test_many_neurons_are_told_in_one_bounded_line() -> None:
    outcome = placed(*(neuron(f"n{i}", engines=()) for i in range(50)))
    assert "and 42 more" in outcome.because()


def test_sizes_are_told_for_people() -> None:
    assert gibibytes(int(21.4 * GIB)) == "21.4 GiB"
    assert gibibytes(50 * 2**20) == "50 MiB"


# ── rules and room ────────────────────────────────────────────────────────────────────────────

ON_DEMAND = ModelRules(min_replicas=0)
LOADED = ModelState.LOADED


def measured(need_gib: float) -> Instance:
    """Return an instance of `m` that is not loaded and whose need is known."""
    return instance(ModelState.UNLOADED, int(need_gib * GIB))


def test_the_reason_has_the_numbers_and_what_would_help() -> None:
    """R2.15: "needs 21.4 GiB; best free 15.1 GiB on n2; would fit if m3, idle 14 min, left"."""
    n1 = neuron("n1", 24 * GIB, m=measured(21.4), m1=instance(LOADED, 20 * GIB))
    n2 = neuron("n2", 24 * GIB, m3=instance(LOADED, int(8.9 * GIB)))
    m3 = replace(desired("m3", ON_DEMAND))
    b = board(n1, n2, models=(m3, desired("m1", ModelRules(pinned=True))), now=840.0)
    outcome = place(desired("m"), b, ever=False)
    assert outcome.neuron_id is None
    assert outcome.because().startswith(
        "no neuron can take it now (needs 21.4 GiB; best free 15.1 GiB on n2; "
        "would fit if m3, idle 14 min, left): n1: "
    )


def test_room_without_anybody_leaving_comes_first() -> None:
    """Lesson 34: fits free memory, then fits after permitted eviction, then most free."""
    full = neuron("full", 16 * GIB, other=instance(LOADED, 12 * GIB), m=measured(6))
    free = neuron("free", 6 * GIB)
    asked = desired("m", ON_DEMAND, waiting_since_s=100.0)
    b = board(full, free, models=(desired("other", ON_DEMAND), asked), now=100.0)
    outcome = place(asked, b, ever=False)
    assert (outcome.neuron_id, outcome.evicts) == ("free", ())
    b = board(full, models=(desired("other", ON_DEMAND), asked), now=100.0)
    outcome = place(asked, b, ever=False)
    assert (outcome.neuron_id, outcome.evicts) == ("full", ("other",))


def test_no_more_leave_than_must() -> None:
    held = {
        "small": instance(LOADED, 1 * GIB),
        "large": instance(LOADED, 6 * GIB),
    }
    full = neuron("n1", 8 * GIB, m=measured(6), **held)
    asked = desired("m", ON_DEMAND, waiting_since_s=100.0)
    others = tuple(desired(name, ON_DEMAND) for name in held)
    b = board(full, models=(*others, asked), now=100.0)
    assert place(asked, b, ever=False).evicts == ("large",)


def test_a_model_whose_needs_exceed_the_machine_helps_nobody_by_leaving() -> None:
    full = neuron("n1", 8 * GIB, other=instance(LOADED, 2 * GIB), m=measured(20))
    asked = desired("m", ON_DEMAND, waiting_since_s=0.0)
    outcome = place(asked, board(full, models=(desired("other", ON_DEMAND),)), ever=True)
    assert outcome.neuron_id is None
    assert "would fit" not in outcome.because()


def test_whether_a_request_may_wait_does_not_ask_what_is_in_use_just_now() -> None:
    busy = instance(LOADED, 6 * GIB, since_s=99.0)
    n1 = neuron("n1", 8 * GIB, other=busy, m=measured(6))
    b = board(n1, models=(desired("other", ON_DEMAND),), now=100.0)
    assert place(desired("m"), b, ever=False).neuron_id is None
    assert place(desired("m"), b, ever=True).neuron_id == "n1"
    high = desired("other", ModelRules(min_replicas=0, priority=Priority.HIGH))
    assert place(desired("m"), board(n1, models=(high,), now=100.0), ever=True).neuron_id is None


def test_spread_prefers_another_host_and_zone_but_does_not_insist() -> None:
    have = instance(LOADED, GIB)
    taken = neuron("n1", hostname="h1", labels={"zone": "a"}, m=have)
    same_host = neuron("n2", 64 * GIB, hostname="h1", labels={"zone": "b"})
    same_zone = neuron("n3", 64 * GIB, hostname="h3", labels={"zone": "a"})
    apart = neuron("n4", 2 * GIB, hostname="h4", labels={"zone": "c"})
    wanted = desired("m", placed_by(spread=True))
    b = board(taken, same_host, same_zone, apart)
    assert place(wanted, b, among=[same_host, same_zone, apart], ever=False).neuron_id == "n4"
    assert place(wanted, b, among=[same_host], ever=False).neuron_id == "n2"


# ── the order instead of every neuron ─────────────────────────────────────────────────────────

_ELSE = ("x", "y")


def _one(dice: random.Random, number: int) -> NeuronView:
    def drawn() -> Instance:
        return instance(
            dice.choice(list(ModelState)),
            dice.choice([None, GIB, 2 * GIB]),
            owned=dice.random() < 0.5,
            known_digest=dice.choice(["", model("m").digest()]),
            not_before_s=dice.choice([0.0, 0.0, 3900.0, 4100.0]),
        )

    return neuron(
        f"n{number:02}",
        dice.choice([1, 2, 4]) * GIB,
        dice.choice([("echo",), ("echo",), ("other",)]),
        state=dice.choice([NeuronState.CONNECTED] * 4 + [NeuronState.GONE]),
        hostname=dice.choice(["", "h1", "h2"]),
        cordoned=dice.random() < 0.2,
        **{name: drawn() for name in ("m", *_ELSE) if dice.random() < 0.4},
    )


def _drawn(seed: int) -> tuple[DesiredModel, Board]:
    """Return a model that wants replicas, and a fleet."""
    dice = random.Random(f"placement {seed}")
    views = [_one(dice, number) for number in range(dice.randrange(15))]
    placement = PlacementRules(
        neurons=frozenset(dice.choice([(), (), ("n01", "n03", "n05", "absent")])),
        spread=dice.random() < 0.5,
        apart_from=frozenset(dice.choice([(), (), ("x",)])),
    )
    rules = ModelRules(
        min_replicas=dice.randrange(4),
        max_replicas=9,
        guaranteed=dice.random() < 0.5,
        placement=placement,
    )
    wanted = replace(
        desired("m", rules, waiting_since_s=dice.choice([None, None, 1.0, 3999.0])),
        replicas=3,
        warm=dice.choice([0, 3]),
        demanded=dice.random() < 0.2,
    )
    others = [desired(name, ModelRules(pinned=dice.random() < 0.3)) for name in _ELSE]
    models = {each.config.id: each for each in (wanted, *others)}
    limit = dice.choice([None, None, 1, 2])
    outlook = Outlook(policy=ProvisioningPolicy(models_per_neuron_max=limit))
    return wanted, Board.anew(views, models, outlook, 4000.0)


@given(st.integers(0, 2**32))
@settings(max_examples=1000, deadline=None)
def test_an_offer_is_what_asking_every_neuron_would_find(seed: int) -> None:
    wanted, b = _drawn(seed)
    asked, offered = place(wanted, b, ever=True), offer(wanted, b)
    assert (offered.neuron_id, offered.evicts) == (asked.neuron_id, asked.evicts)
    assert offered.next_attempt_s == asked.next_attempt_s
    assert len(offered.verdicts) + offered.unasked == len(asked.verdicts)
    assert {v.neuron_id: v for v in offered.verdicts}.items() <= {
        v.neuron_id: v for v in asked.verdicts
    }.items()


@given(st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=1000, deadline=None)
def test_places_are_what_asking_every_neuron_each_time_would_find(seed: int, count: int) -> None:
    wanted, b = _drawn(seed)
    expected: list[tuple[str, tuple[str, ...]]] = []
    for _ in range(count):
        among = [n for n in b.neurons if not b.has(n, M)]
        best = place(wanted, b, among=among, ever=False)
        if best.neuron_id is None:
            break
        expected.append((best.neuron_id, best.evicts))
        _take(b, best.neuron_id, best.evicts)
    again = Board.anew(b.neurons, b.desired, b.outlook, b.now)
    chosen = []
    for verdict in places(wanted, again, lambda n: again.has(n, M), count):
        chosen.append((verdict.neuron_id, verdict.evicts))
        _take(again, verdict.neuron_id, verdict.evicts)
    assert chosen == expected


def _take(b: Board, neuron_id: NeuronId, evicts: tuple[ModelId, ...]) -> None:
    view = b.neuron(neuron_id)
    if evicts:
        b.reserve(view, M, sum(b.leave(view, other) for other in evicts))
    else:
        b.book(view, M)


def test_where_nothing_fits_those_are_told_who_have_it_and_who_have_most_room() -> None:
    many = [neuron(f"n{n:02}", (1 + n % 3) * GIB) for n in range(30)]
    knows = neuron("a", 1 * GIB, m=measured(9))
    told = offer(desired("m"), board(*many, knows, neuron("other", 99 * GIB, ())))
    assert told.neuron_id is None
    assert (len(told.verdicts), told.unasked) == (9, 23)
    assert told.because().startswith(
        "no neuron can take it now (needs 9.0 GiB; best free 3.0 GiB on n02): a: 1.0 GiB free of"
    )
    assert told.because().endswith("; and 24 more")


def test_times_are_told_for_people() -> None:
    assert (minutes(14 * 60.0), minutes(59.0)) == ("14 min", "59 s")
