"""The fleet's state as scripts: these events in, these commands and this snapshot out."""

import dataclasses

import msgspec

from helexa.cortex.orchestrator.circuit import OPEN_S, CircuitState
from helexa.cortex.orchestrator.commands import (
    AcceptNeuron,
    AskCapabilities,
    CloseConnection,
    Command,
    Provision,
    Remark,
)
from helexa.cortex.orchestrator.events import (
    CapabilitiesChanged,
    CommandAnswered,
    CommandUndelivered,
    DesiredChanged,
    Event,
    HealthReported,
    ModelReported,
    ModelWanted,
    NeuronBeat,
    NeuronGone,
    NeuronHeard,
    NeuronLeaving,
    NeuronRestored,
    RequestOutcome,
    Tick,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.liveness import CLOSE_LOST, CLOSE_REPLACED, NeuronState
from helexa.cortex.orchestrator.neurons import ABSENT_MAX, MODELS_PER_NEURON_MAX
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.cortex.orchestrator.sizing import DEMAND_S
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.control import LoadModel, ProvisioningResponse, UpsertModelConfig
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from tests.fakes.fleet import CHAT, fleet, joined, model, register, status

N1, M = NeuronId("n1"), ModelId("m")
ON_DEMAND = ModelRules(min_replicas=0)


def acts(state: FleetState, event: Event, now: float) -> list[Command]:
    return [c for c in state.apply([event], now) if not isinstance(c, Remark)]


def beat(connection: int, *models: object, **health: object) -> NeuronBeat:
    return NeuronBeat(
        N1,
        connection,
        NeuronHealth(**health),
        NeuronLoad(),
        models,  # type: ignore[arg-type]
    )


def decide(state: FleetState, now: float) -> list[Provision]:
    return state.issue(reconcile(state.snapshot(now), now), now)


# ── presence ──────────────────────────────────────────────────────────────────────────────────


def test_a_registered_neuron_is_accepted_and_its_models_are_routable() -> None:
    """R1.25: registrations and the time of the last frame are held."""
    state = fleet()
    assert acts(state, joined(7, register("n1", status(model()))), 5.0) == [AcceptNeuron(7, N1)]
    snapshot = state.snapshot(5.0)
    assert snapshot.neurons[N1].last_heard_s == 5.0
    (replica,) = snapshot.models["m"].replicas
    assert (replica.neuron_id, replica.epoch, replica.capability) == ("n1", 1, CHAT)


def test_a_newcomer_with_a_used_id_is_refused_and_counted() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", epoch=1))], 0.0)
    (refused,) = acts(state, joined(2, register("n1", epoch=2)), 1.0)
    assert isinstance(refused, CloseConnection)
    assert (refused.connection, refused.code) == (2, 4409)
    assert state.snapshot(1.0).neurons[N1].conflicts == 1
    assert state.snapshot(1.0).neurons[N1].connection == 1


def test_the_same_process_replaces_its_own_connection() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", epoch=1))], 0.0)
    closed, accepted = acts(state, joined(2, register("n1", epoch=1)), 1.0)
    assert (closed.connection, closed.code) == (1, CLOSE_REPLACED)  # type: ignore[union-attr]
    assert accepted == AcceptNeuron(2, N1)


def test_nothing_of_an_old_connection_counts() -> None:
    state = fleet()
    state.apply([joined(1, register("n1")), joined(2, register("n1"))], 0.0)
    state.apply([ModelReported(N1, 1, status(model())), NeuronGone(N1, 1, "closed")], 1.0)
    snapshot = state.snapshot(1.0)
    assert snapshot.neurons[N1].state is NeuronState.CONNECTED
    assert "m" not in snapshot.models


def test_a_lost_neuron_frees_its_models() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([NeuronGone(N1, 1, "closed")], 1.0)
    snapshot = state.snapshot(1.0)
    assert snapshot.neurons[N1].state is NeuronState.GONE
    assert snapshot.models["m"].replicas == ()
    assert "n1 is not connected" in snapshot.models["m"].because


def test_silence_makes_suspect_then_lost_and_closes_the_connection() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    assert state.next_deadline_s() == 10.0
    assert acts(state, Tick(), 10.0) == []
    assert state.snapshot(10.0).models["m"].replicas[0].suspect
    (closed,) = acts(state, Tick(), 15.0)
    assert isinstance(closed, CloseConnection)
    assert (closed.connection, closed.code) == (1, CLOSE_LOST)
    assert state.snapshot(15.0).models["m"].replicas == ()


def test_any_frame_counts_as_heard() -> None:
    state = fleet()
    state.apply([joined(1, register("n1"))], 0.0)
    state.apply([Tick()], 11.0)
    assert state.snapshot(11.0).neurons[N1].suspect
    state.apply([NeuronHeard(N1, 1, 11.5), Tick()], 12.0)
    assert not state.snapshot(12.0).neurons[N1].suspect


def test_a_restored_neuron_is_not_routable_until_it_registers() -> None:
    state = fleet(model())
    message = register("n1", status(model()))
    restored = NeuronRestored(message.neuron, message.capabilities, message.models)
    state.apply([restored], 0.0)
    assert state.snapshot(0.0).neurons[N1].state is NeuronState.UNCONFIRMED
    assert state.snapshot(0.0).models["m"].replicas == ()
    state.apply([joined(1, message)], 1.0)
    assert len(state.snapshot(1.0).models["m"].replicas) == 1


def test_what_a_restored_neuron_only_has_the_config_of_is_still_this_cortexs_own() -> None:
    state = fleet()
    idle = status(model(), ModelState.UNLOADED)
    message = register("n1", idle)
    owned = frozenset({M})
    state.apply([NeuronRestored(message.neuron, message.capabilities, (), owned)], 0.0)
    state.apply([joined(1, message)], 1.0)
    assert state.snapshot(1.0).neurons[N1].instances[M].owned
    (forget,) = reconcile(state.snapshot(1.0), 1.0)
    assert forget.cause == "no longer wanted"


def test_a_neuron_that_stays_away_is_pruned() -> None:
    """R1.25: stale neurons are pruned."""
    state = fleet()
    state.apply([joined(1, register("n1")), NeuronGone(N1, 1, "closed")], 0.0)
    state.apply([Tick()], 599.0)
    assert N1 in state.snapshot(599.0).neurons
    state.apply([Tick()], 600.0)
    assert N1 not in state.snapshot(600.0).neurons


def test_a_leaving_neuron_gets_no_requests() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([NeuronLeaving(N1, 1, "upgrade")], 1.0)
    assert state.snapshot(1.0).models["m"].replicas == ()


# ── reports ───────────────────────────────────────────────────────────────────────────────────


def test_a_heartbeat_is_the_whole_truth_about_models() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model("a")), status(model("b"))))], 0.0)
    state.apply([beat(1, status(model("b")))], 5.0)
    assert set(state.snapshot(5.0).models) == {"b"}


def test_a_report_without_config_or_capability_keeps_what_was_known() -> None:
    state = fleet()
    known = status(model("m", aliases=("mm",)))
    state.apply([joined(1, register("n1", known))], 0.0)
    bare = msgspec.structs.replace(known, config=None, capability=None)
    state.apply([beat(1, bare)], 5.0)
    snapshot = state.snapshot(5.0)
    assert snapshot.models["m"].replicas[0].capability == CHAT
    assert snapshot.names["mm"] == "m"


def test_an_illegal_step_is_the_peers_fault_and_is_counted() -> None:
    """R2.13, at the cortex's end: the report is taken, the fault is noted."""
    state = fleet()
    state.apply([joined(1, register("n1", status(model(), ModelState.UNLOADED)))], 0.0)
    state.apply([ModelReported(N1, 1, status(model(), ModelState.UNLOADING))], 1.0)
    assert state.snapshot(1.0).neurons[N1].faults == 1


def test_a_neurons_problems_do_not_take_its_running_models_out() -> None:
    """Another model that failed there, or a full disk, keeps nobody from using what runs."""
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([HealthReported(N1, 1, NeuronHealth(problems=("disk full",)))], 1.0)
    snapshot = state.snapshot(1.0)
    assert snapshot.neurons[N1].health.problems == ("disk full",)
    assert snapshot.models["m"].replicas[0].healthy


def test_failed_requests_open_a_replicas_circuit_for_a_while() -> None:
    """R2.40: a neuron whose requests fail gets no new ones, then one at a time."""
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([joined(2, register("n2", status(model())))], 0.0)

    def replica(now: float) -> Replica:
        return state.snapshot(now).models["m"].replicas[0]

    failed = RequestOutcome(N1, M, ok=False, latency_ms=1.0)
    state.apply([failed, failed], 1.0)
    assert replica(1.0).healthy
    remarks = [c for c in state.apply([failed], 1.0) if isinstance(c, Remark)]
    assert [(r.event, r.because) for r in remarks] == [
        ("circuit_open", "100% of its requests failed of late")
    ]
    assert not replica(1.0).healthy
    after = 1.0 + OPEN_S
    state.apply([NeuronHeard(N1, 1, after), NeuronHeard(NeuronId("n2"), 2, after), Tick()], after)
    assert (replica(after).healthy, replica(after).probing) == (True, True)
    state.apply([failed], after)
    assert not replica(after).healthy, "the probe failed"
    later = after + 2 * OPEN_S
    state.apply([NeuronHeard(N1, 1, later), NeuronHeard(NeuronId("n2"), 2, later), Tick()], later)
    state.apply([RequestOutcome(N1, M, ok=True, latency_ms=1.0)], later)
    assert (replica(later).healthy, replica(later).probing) == (True, False)


def test_a_model_whose_only_replica_fails_is_tried_still() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    state.apply([RequestOutcome(N1, M, ok=False, latency_ms=1.0, count=5)], 1.0)
    replica = state.snapshot(1.0).models["m"].replicas[0]
    assert (replica.healthy, replica.circuit) == (True, CircuitState.OPEN)


def test_a_snapshot_is_the_very_same_while_nothing_changes() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model())))], 0.0)
    first = state.snapshot(0.0)
    assert state.snapshot(1.0) is first
    state.apply([NeuronHeard(N1, 1, 1.0)], 1.0)
    assert state.snapshot(1.0) is first


# ── commands ──────────────────────────────────────────────────────────────────────────────────


def answer(provision: Provision, *, accepted: bool = True, because: str = "") -> CommandAnswered:
    response = ProvisioningResponse(
        command_id=provision.command_id, model_id=M, accepted=accepted, because=because
    )
    return CommandAnswered(N1, provision.connection, response)


def test_a_config_goes_first_and_then_the_load() -> None:
    """R1.23, R2.29."""
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    (upsert,) = decide(state, 0.0)
    assert isinstance(upsert.command, UpsertModelConfig)
    assert decide(state, 0.0) == [], "one command at a time"
    state.apply([answer(upsert)], 1.0)
    (load,) = decide(state, 1.0)
    assert load.command == LoadModel(model_id=M)
    assert load.command_id != upsert.command_id
    state.apply([answer(load), ModelReported(N1, 1, status(model(), ModelState.LOADING))], 2.0)
    assert decide(state, 2.0) == []
    state.apply([ModelReported(N1, 1, status(model()))], 3.0)
    assert decide(state, 3.0) == []


def test_answers_are_recorded() -> None:
    """R1.26."""
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    (upsert,) = decide(state, 0.0)
    state.apply([answer(upsert)], 1.0)
    assert [a.command_id for a in state.snapshot(1.0).neurons[N1].answers] == [upsert.command_id]


def test_a_refused_command_waits_longer_each_time() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    now, waits = 0.0, []
    for _ in range(4):
        (upsert,) = decide(state, now)
        state.apply([answer(upsert, accepted=False, because="no room")], now)
        assert "no room" in state.snapshot(now).models["m"].because
        asked_s = now
        while not reconcile(state.snapshot(now), now):
            now += 0.5
            state.apply([beat(1), Tick()], now)
        waits.append(now - asked_s)
    assert waits == [2.0, 4.0, 8.0, 16.0]


def test_an_unanswered_command_is_sent_again() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    decide(state, 0.0)
    state.apply([NeuronHeard(N1, 1, 9.0), Tick()], 9.0)
    assert decide(state, 9.0) == []
    state.apply([NeuronHeard(N1, 1, 10.0), Tick()], 10.0)
    assert len(decide(state, 10.0)) == 1


def test_an_undelivered_command_is_tried_again_but_not_at_once() -> None:
    """R1.27: sending to a gone neuron is an error, not a silent queue."""
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    (upsert,) = decide(state, 0.0)
    state.apply([CommandUndelivered(N1, 1, upsert.command_id, "buffer full")], 0.0)
    assert decide(state, 0.0) == []
    state.apply([Tick()], 2.0)
    assert len(decide(state, 2.0)) == 1


def test_an_answer_to_another_command_changes_nothing() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1"))], 0.0)
    (upsert,) = decide(state, 0.0)
    stray = ProvisioningResponse(command_id=CommandId("else"), model_id=M, accepted=True)
    state.apply([CommandAnswered(N1, 1, stray)], 1.0)
    instance = state.snapshot(1.0).neurons[N1].instances[M]
    assert instance.pending is not None
    assert instance.pending.command_id == upsert.command_id


def test_new_hardware_or_engines_lift_refusals() -> None:
    state = fleet(model())
    message = register("n1")
    state.apply([joined(1, message)], 0.0)
    (upsert,) = decide(state, 0.0)
    state.apply([answer(upsert, accepted=False, because="engine off")], 0.0)
    assert decide(state, 1.0) == []
    changed = msgspec.structs.replace(message.capabilities, engines=("echo", "llamacpp"))
    state.apply([CapabilitiesChanged(N1, 1, changed, ())], 1.0)
    assert len(decide(state, 1.0)) == 1


def test_lost_news_of_a_neuron_are_asked_for_at_each_heartbeat_that_shows_them() -> None:
    state = fleet(model())
    message = register("n1")
    state.apply([joined(1, message)], 0.0)
    older = beat(1)
    newer = dataclasses.replace(older, capabilities_generation=2)
    assert acts(state, older, 1.0) == [], "a neuron that knows no generations is not asked"
    assert acts(state, newer, 6.0) == [AskCapabilities(1, N1)]
    assert acts(state, newer, 11.0) == [AskCapabilities(1, N1)]
    changed = msgspec.structs.replace(message.capabilities, generation=2, memory_budget_bytes=5)
    state.apply([CapabilitiesChanged(N1, 1, changed, ())], 12.0)
    assert acts(state, newer, 16.0) == []
    assert state.snapshot(16.0).neurons[N1].capabilities.memory_budget_bytes == 5


# ── wishes ────────────────────────────────────────────────────────────────────────────────────


def test_without_preload_a_model_is_loaded_when_it_is_asked_for() -> None:
    state = fleet(model(), rules=ON_DEMAND)
    state.apply([joined(1, register("n1"))], 0.0)
    (upsert,) = decide(state, 0.0)
    assert isinstance(upsert.command, UpsertModelConfig)
    view = state.snapshot(0.0).models["m"]
    assert (view.loadable, view.loading) == (True, False)
    answer = ProvisioningResponse(command_id=upsert.command_id, model_id=M, accepted=True)
    state.apply([CommandAnswered(N1, 1, answer), ModelWanted(M, "request-1")], 1.0)
    (load,) = decide(state, 1.0)
    assert (load.command, load.cause) == (LoadModel(model_id=M), "request-1")


def test_a_model_that_only_a_neuron_knows_is_loaded_on_demand() -> None:
    state = fleet()
    state.apply([joined(1, register("n1", status(model(), ModelState.UNLOADED)))], 0.0)
    assert decide(state, 0.0) == []
    state.apply([ModelWanted(M, "request-1")], 1.0)
    (load,) = decide(state, 1.0)
    assert load.command == LoadModel(model_id=M)
    assert load.cause == "request-1"


def test_a_demand_that_nothing_comes_of_is_given_up() -> None:
    state = fleet(model(), rules=ON_DEMAND)
    state.snapshot(0.0)
    state.apply([ModelWanted(M, "request-1")], 0.0)
    assert state.snapshot(0.0).desired[M].replicas == 1
    state.apply([Tick()], DEMAND_S)
    assert state.snapshot(DEMAND_S).desired[M].replicas == 0


def test_models_nobody_knows_cannot_be_wanted() -> None:
    state = fleet()
    state.apply([ModelWanted(ModelId("nobody"), "request-1")], 0.0)
    assert state.snapshot(0.0).desired == {}


def test_desired_models_are_replaced_whole() -> None:
    state = fleet(model("a"))
    rules = {ModelId("b"): ModelRules(min_replicas=2, max_replicas=2)}
    state.apply([DesiredChanged(models=(model("b"),), rules=rules)], 1.0)
    desired = state.snapshot(1.0).desired
    assert set(desired) == {"b"}
    assert desired[ModelId("b")].replicas == 2


def test_models_and_neurons_made_up_one_after_another_do_not_pile_up() -> None:
    state = fleet()
    state.apply([joined(1, register("n1"))], 0.0)
    made_up = [
        ModelReported(N1, 1, status(model(f"m{number}"), ModelState.FAILED, retry_after_s=1e6))
        for number in range(MODELS_PER_NEURON_MAX + 10)
    ]
    state.apply(made_up, 1.0)
    assert len(state.snapshot(1.0).neurons[N1].instances) == MODELS_PER_NEURON_MAX
    for number in range(2, ABSENT_MAX + 10):
        name = f"x{number}"
        state.apply([joined(number, register(name)), NeuronGone(NeuronId(name), number, "")], 2.0)
    neurons = state.snapshot(2.0).neurons
    assert len(neurons) == ABSENT_MAX + 1
    assert "n1" in neurons, "those that are present stay"
    assert "x2" not in neurons, "those that left first are forgotten first"
