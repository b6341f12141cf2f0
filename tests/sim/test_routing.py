"""Routing against an oracle: any fleet, any health, any load; what may take a request, takes it."""

from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st

from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.scheduler import RoutingDecision, explain, route
from helexa.cortex.orchestrator.snapshot import (
    WAITING_PER_REPLICA_MAX,
    FleetSnapshot,
    ModelView,
    NeuronView,
    Replica,
)
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelCapability
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth, NeuronLoad
from helexa.protocol.workload import Operation, Workload, WorkloadClass
from tests.fakes.fleet import capabilities, model

M = ModelId("m")
One = tuple[ModelCapability, bool, bool, bool, int, int]
"""What it can do; healthy, suspect, cordoned; requests sent to it, and told of by it."""
_CAPABILITIES = st.builds(
    ModelCapability,
    workloads=st.sampled_from(
        [(Workload.CHAT,), (Workload.EMBEDDINGS,), (Workload.COMPLETION,), ()]
    ),
    context_tokens=st.sampled_from([None, 512, 8192]),
    seats=st.integers(1, 4),
    vision=st.booleans(),
)
_ONE = st.tuples(
    _CAPABILITIES,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 1, 3, WAITING_PER_REPLICA_MAX, WAITING_PER_REPLICA_MAX + 4]),
    st.integers(0, 9),
)
_ASKED = st.sampled_from(
    [
        (Operation.CHAT, WorkloadClass.CHAT_INTERACTIVE),
        (Operation.CHAT, WorkloadClass.VISION_CAPTION),
        (Operation.EMBEDDINGS, WorkloadClass.EMBEDDING),
    ]
)


def _snapshot(ones: list[One]) -> FleetSnapshot:
    replicas = tuple(
        Replica(
            model_id=M,
            neuron_id=NeuronId(f"n{number}"),
            epoch=1,
            capability=capability,
            healthy=healthy,
            suspect=suspect,
            cordoned=cordoned,
            active_requests=active,
        )
        for number, (capability, healthy, suspect, cordoned, _, active) in enumerate(ones)
    )
    neurons = {
        replica.neuron_id: NeuronView(
            descriptor=NeuronDescriptor(id=replica.neuron_id, epoch=1),
            capabilities=capabilities(),
            health=NeuronHealth(),
            load=NeuronLoad(),
            connected=True,
            suspect=replica.suspect,
            last_heard_s=0.0,
        )
        for replica in replicas
    }
    view = ModelView(config=model("m"), replicas=replicas)
    return FleetSnapshot(
        models=MappingProxyType({M: view}),
        names=MappingProxyType({"m": M}),
        neurons=MappingProxyType(neurons),
    )


def _may(
    one: One,
    asked: tuple[Operation, WorkloadClass],
    tokens: int,
) -> bool:
    """Tell whether a replica may take a request, said anew and plainly."""
    capability, healthy, suspect, cordoned, in_flight, _ = one
    needs = Workload.CHAT if asked[0] is Operation.CHAT else Workload.EMBEDDINGS
    return (
        (not capability.workloads or needs in capability.workloads)
        and (asked[1] is not WorkloadClass.VISION_CAPTION or capability.vision)
        and (capability.context_tokens is None or tokens <= capability.context_tokens)
        and healthy
        and not suspect
        and not cordoned
        and in_flight < capability.seats + WAITING_PER_REPLICA_MAX
    )


@given(
    ones=st.lists(_ONE, max_size=6),
    asked=_ASKED,
    tokens=st.sampled_from([0, 100, 4000, 9000]),
    tried=st.sets(st.integers(0, 5), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_a_request_goes_to_who_may_take_it_and_is_refused_only_where_nobody_may(
    ones: list[One],
    asked: tuple[Operation, WorkloadClass],
    tokens: int,
    tried: set[int],
) -> None:
    """R2.36, R2.37: varied capability and health; never an ineligible one, always an eligible."""
    snapshot = _snapshot(ones)
    replicas = snapshot.models[M].replicas
    request = RoutingRequest(
        request_id="r",
        operation=asked[0],
        workload_class=asked[1],
        model="m",
        excluded=tuple(r for number, r in enumerate(replicas) if number in tried),
        prompt_tokens_min=tokens,
    )
    sent = {NeuronId(f"n{number}"): one[4] for number, one in enumerate(ones)}
    eligible = {
        f"n{number}"
        for number, one in enumerate(ones)
        if number not in tried and _may(one, asked, tokens)
    }
    for _ in range(2):  # the second time by what the first one left in the snapshot
        outcome = route(request, snapshot, lambda replica: sent[replica.neuron_id])
        if isinstance(outcome, RoutingDecision):
            assert outcome.replica.neuron_id in eligible
            assert outcome.eligible == len(eligible)
        else:
            assert not eligible
    why = explain(request, snapshot, lambda replica: sent[replica.neuron_id])
    assert (why.chosen is not None) == bool(eligible)
    assert {f.neuron_id for f in why.findings if not f.filter} == eligible
