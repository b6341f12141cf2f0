"""Snapshots and requests for tests of routing."""

from types import MappingProxyType

from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, NeuronView, Replica
from helexa.protocol.dialects.dialect import DIALECTS
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelCapability
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth, NeuronLoad
from helexa.protocol.workload import Operation, WorkloadClass
from tests.fakes.fleet import CHAT, capabilities, model

M = ModelId("m")


def replica(name: str, capability: ModelCapability = CHAT, **fields: object) -> Replica:
    fields = {"dialects": tuple(DIALECTS), **fields}
    return Replica(M, NeuronId(name), 1, capability, **fields)  # type: ignore[arg-type]


def snapshot(*replicas: Replica, view: ModelView | None = None, **fields: object) -> FleetSnapshot:
    shown = view or ModelView(config=model("m", aliases=("alias",)), replicas=replicas)
    neurons = {
        r.neuron_id: NeuronView(
            NeuronDescriptor(id=r.neuron_id, epoch=1), capabilities(), NeuronHealth(), NeuronLoad(),
            connected=True, suspect=False, last_heard_s=0.0,
        )
        for r in shown.replicas
    }  # fmt: skip
    return FleetSnapshot(
        models=MappingProxyType({"m": shown}),
        names=MappingProxyType({"m": M, "alias": M}),
        neurons=MappingProxyType(neurons),
        **fields,  # type: ignore[arg-type]
    )


def request(**fields: object) -> RoutingRequest:
    given_fields = {
        "request_id": "r1",
        "operation": Operation.CHAT,
        "workload_class": WorkloadClass.CHAT_INTERACTIVE,
        "model": "m",
    }
    return RoutingRequest(**(given_fields | fields))  # type: ignore[arg-type]


def idle(_replica: Replica) -> int:
    return 0
