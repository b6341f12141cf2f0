"""Which neuron can hold a model, and what is said when none can."""

from types import MappingProxyType

from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.placement import (
    Placement,
    booked_bytes,
    gibibytes,
    needs_of_models,
    place,
)
from helexa.cortex.orchestrator.snapshot import Instance, NeuronView, Pending
from helexa.protocol.control import LoadModel, UpsertModelConfig
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelStatus
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth, NeuronLoad
from tests.fakes.fleet import GIB, capabilities, model

M = ModelId("m")


def neuron(
    name: str,
    budget_bytes: int = 8 * GIB,
    engines: tuple[str, ...] = ("echo",),
    state: NeuronState = NeuronState.CONNECTED,
    **instances: Instance,
) -> NeuronView:
    return NeuronView(
        NeuronDescriptor(id=NeuronId(name), epoch=1),
        capabilities(budget_bytes, engines),
        NeuronHealth(),
        NeuronLoad(),
        connected=True,
        suspect=False,
        last_heard_s=0.0,
        state=state,
        instances=MappingProxyType({ModelId(k): v for k, v in instances.items()}),
    )


def instance(state: ModelState, need_bytes: int | None, **fields: object) -> Instance:
    capability = ModelCapability(memory_bytes=need_bytes)
    status = ModelStatus(model_id=M, state=state, config_digest="", capability=capability)
    return Instance(status=status, **fields)  # type: ignore[arg-type]


def placed(*neurons: NeuronView, now: float = 0.0, **config: object) -> Placement:
    needs = needs_of_models(neurons)
    booked = {n.descriptor.id: booked_bytes(n, needs) for n in neurons}
    return place(model("m", **config), neurons, booked, needs, now)  # type: ignore[arg-type]


def test_the_neuron_with_most_free_memory_gets_the_model() -> None:
    assert placed(neuron("small", 4 * GIB), neuron("big", 16 * GIB)).neuron_id == "big"


def test_a_neuron_that_has_the_config_already_comes_first() -> None:
    knows = Instance(known_digest=model("m").digest())
    assert placed(neuron("knows", 4 * GIB, m=knows), neuron("big", 16 * GIB)).neuron_id == "knows"


def test_equal_neurons_share_the_models_out() -> None:
    pair = (neuron("a"), neuron("b"))
    chosen = {place(model(f"model-{i}"), pair, {}, {}, 0.0).neuron_id for i in range(20)}
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
