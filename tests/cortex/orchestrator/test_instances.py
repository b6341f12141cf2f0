"""One model on one neuron, step by step."""

from helexa.cortex.orchestrator.circuit import CLOSED, OPEN_S, CircuitState
from helexa.cortex.orchestrator.instances import (
    answered,
    disconnected,
    expired,
    issued,
    marked,
    reported,
    requests_ended,
    undelivered,
)
from helexa.cortex.orchestrator.policy import ACCEPTED_S, OWN_RETRY_MARGIN_S, FleetPolicy
from helexa.cortex.orchestrator.snapshot import Instance
from helexa.protocol.control import LoadModel, ProvisioningResponse, UnloadModel, UpsertModelConfig
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from tests.fakes.fleet import CHAT, model, status

POLICY = FleetPolicy()
C1, M = CommandId("c1"), ModelId("m")
LOAD = LoadModel(model_id=M)


def says(accepted: bool = True, command_id: CommandId = C1) -> ProvisioningResponse:
    return ProvisioningResponse(command_id=command_id, model_id=M, accepted=accepted, because="no")


def test_a_command_waits_for_its_answer_until_a_deadline() -> None:
    told = issued(Instance(), C1, LOAD, 5.0, 10.0)
    assert told.pending is not None
    assert expired(told, 14.9).pending is not None
    assert expired(told, 15.0).pending is None


def test_what_this_cortex_brings_or_loads_is_its_own_and_a_newer_config_makes_nothing_so() -> None:
    bring, running = UpsertModelConfig(config=model()), Instance(status=status(model()))
    unload = UnloadModel(model_id=M)
    commands = ((Instance(), bring), (running, LOAD), (running, bring), (running, unload))
    told = [issued(instance, C1, command, 0.0, 10.0) for instance, command in commands]
    assert [marked(each, configured=True).owned for each in told] == [True, True, False, False]
    lent = [marked(each, configured=False) for each in told]
    assert [(each.owned, each.lent) for each in lent] == [
        (False, False), (False, True), (False, False), (False, False),
    ]  # fmt: skip


def test_what_was_lent_is_lent_until_it_is_unloaded() -> None:
    """A report from before the load reached the neuron changes nothing."""
    told = marked(issued(Instance(), C1, LOAD, 0.0, 10.0), configured=False)
    states = (ModelState.UNLOADED, ModelState.LOADING, ModelState.LOADED, ModelState.UNLOADING)
    for state in states:
        told = reported(told, status(model(), state), 1.0, POLICY)
        assert told.lent
    assert not reported(told, status(model(), ModelState.UNLOADED), 2.0, POLICY).lent


def test_an_accepted_config_is_known() -> None:
    told = issued(Instance(), C1, UpsertModelConfig(config=model()), 0.0, 10.0)
    after = answered(told, says(), 1.0, POLICY)
    assert after.pending is None
    assert after.known_digest == model().digest()


def test_a_heartbeat_does_not_undo_an_accepted_config() -> None:
    """The status tells the digest of what runs, which is older."""
    newer = model("m", options={"rate": 2})
    running = reported(Instance(), status(model()), 0.0, POLICY)
    told = issued(running, C1, UpsertModelConfig(config=newer), 0.0, 10.0)
    after = answered(told, says(), 1.0, POLICY)
    bare = ModelStatus(model_id=M, state=ModelState.LOADED, config_digest=model().digest())
    assert reported(after, bare, 2.0, POLICY).known_digest == newer.digest()


def test_an_accepted_load_is_under_way_until_it_shows() -> None:
    told = issued(Instance(), C1, LOAD, 0.0, 10.0)
    after = answered(told, says(), 1.0, POLICY)
    assert after.pending is not None
    assert after.pending.deadline_s == 1.0 + ACCEPTED_S
    assert reported(after, status(model(), ModelState.LOADING), 2.0, POLICY).pending is None


def test_a_failure_reported_before_the_load_arrived_does_not_end_it() -> None:
    told = issued(Instance(), C1, LOAD, 0.0, 10.0)
    assert reported(told, status(model(), ModelState.FAILED), 1.0, POLICY).pending is not None


def test_an_accepted_unload_ends_when_it_shows() -> None:
    told = issued(Instance(), C1, UnloadModel(model_id=M), 0.0, 10.0)
    after = answered(told, says(), 1.0, POLICY)
    assert reported(after, status(model(), ModelState.UNLOADING), 2.0, POLICY).pending is None


def test_refusals_back_off_and_a_success_forgets_them() -> None:
    instance = Instance()
    for expected in (2.0, 4.0, 8.0):
        told = issued(instance, C1, LOAD, 100.0, 10.0)
        instance = answered(told, says(accepted=False), 100.0, POLICY)
        assert instance.not_before_s == 100.0 + expected
    instance = reported(instance, status(model(), ModelState.LOADING), 101.0, POLICY)
    assert (instance.refusals, instance.not_before_s, instance.because) == (0, 0.0, "")


def test_an_undelivered_command_leaves_a_short_wait() -> None:
    told = issued(Instance(), C1, LOAD, 0.0, 10.0)
    after = undelivered(told, C1, 5.0, POLICY)
    assert after.pending is None
    assert after.not_before_s == 7.0
    assert undelivered(told, CommandId("other"), 5.0, POLICY) == told


def test_what_was_told_to_a_lost_connection_is_forgotten_with_the_room_it_would_make() -> None:
    running = reported(Instance(), status(model()), 0.0, POLICY)
    told = issued(running, C1, UnloadModel(model_id=M), 1.0, 10.0, ModelId("newcomer"))
    assert disconnected(told) == running


def test_a_model_that_leaves_makes_room_across_connections_until_it_is_found_not_to() -> None:
    running = reported(Instance(), status(model()), 0.0, POLICY)
    told = issued(running, C1, UnloadModel(model_id=M), 1.0, 10.0, ModelId("newcomer"))
    told = answered(told, says(), 1.0, POLICY)
    away = disconnected(reported(told, status(model(), ModelState.UNLOADING), 2.0, POLICY))
    assert away.makes_room_for == "newcomer"
    back = reported(away, status(model(), ModelState.UNLOADING), 3.0, POLICY)
    assert back.makes_room_for == "newcomer"
    assert reported(back, status(model(), ModelState.UNLOADED), 4.0, POLICY).makes_room_for is None
    assert reported(back, status(model()), 4.0, POLICY).makes_room_for is None


def test_the_neurons_own_retry_is_waited_for() -> None:
    failed = status(model(), ModelState.FAILED, failures=1, retry_after_s=8.0)
    after = reported(Instance(), failed, 100.0, POLICY)
    assert after.recovering
    assert after.not_before_s == 108.0 + OWN_RETRY_MARGIN_S
    assert not expired(after, after.not_before_s).recovering


def test_a_capability_is_kept_only_for_the_same_config() -> None:
    known = reported(Instance(), status(model()), 0.0, POLICY)
    same = ModelStatus(model_id=M, state=ModelState.LOADED, config_digest=model().digest())
    other = ModelStatus(model_id=M, state=ModelState.LOADED, config_digest="other")
    assert reported(known, same, 1.0, POLICY).status.capability == CHAT  # type: ignore[union-attr]
    assert reported(known, other, 1.0, POLICY).status.capability is None  # type: ignore[union-attr]


def test_ends_of_requests_move_the_circuit_and_so_does_time() -> None:
    instance = requests_ended(Instance(), ok=False, count=3, now=0.0)
    assert instance.circuit.state is CircuitState.OPEN
    assert expired(instance, OPEN_S).circuit.state is CircuitState.HALF_OPEN


def test_a_reloaded_model_starts_with_a_clean_slate() -> None:
    instance = reported(Instance(), status(model(), ModelState.LOADING), 0.0, POLICY)
    instance = requests_ended(instance, ok=False, count=3, now=0.0)
    assert reported(instance, status(model()), 1.0, POLICY).circuit is CLOSED
