"""Neurons and models as placement sees them, without a fleet around them."""

from collections.abc import Mapping
from types import MappingProxyType

from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.liveness import PRESENT, NeuronState
from helexa.cortex.orchestrator.rules import ModelRules, PlacementRules
from helexa.cortex.orchestrator.snapshot import DesiredModel, Instance, NeuronView, Outlook
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelStatus
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth, NeuronLoad
from tests.fakes.fleet import GIB, capabilities, model


def neuron(
    name: str,
    budget_bytes: int = 8 * GIB,
    engines: tuple[str, ...] = ("echo",),
    *,
    state: NeuronState = NeuronState.CONNECTED,
    labels: Mapping[str, str] | None = None,
    hostname: str = "",
    cordoned: bool = False,
    draining: bool = False,
    **instances: Instance,
) -> NeuronView:
    descriptor = NeuronDescriptor(
        id=NeuronId(name), epoch=1, labels=dict(labels or {}), hostname=hostname
    )
    return NeuronView(
        descriptor,
        capabilities(budget_bytes, engines),
        NeuronHealth(),
        NeuronLoad(),
        connected=state in PRESENT,
        suspect=False,
        last_heard_s=0.0,
        state=state,
        instances=MappingProxyType({ModelId(k): v for k, v in instances.items()}),
        cordoned=cordoned,
        draining=draining,
    )


def instance(state: ModelState, need_bytes: int | None, **fields: object) -> Instance:
    capability = ModelCapability(memory_bytes=need_bytes)
    status = ModelStatus(
        model_id=ModelId("m"), state=state, config_digest="", capability=capability
    )
    return Instance(status=status, **fields)  # type: ignore[arg-type]


def desired(
    name: str = "m", rules: ModelRules | None = None, *, waiting_since_s: float | None = None
) -> DesiredModel:
    config = model(name)
    return DesiredModel(
        config, config.digest(), rules=rules or ModelRules(), waiting_since_s=waiting_since_s
    )


def placed_by(**rules: object) -> ModelRules:
    return ModelRules(placement=PlacementRules(**rules))  # type: ignore[arg-type]


def board(*neurons: NeuronView, models: tuple[DesiredModel, ...] = (), now: float = 0.0) -> Board:
    return Board.anew(neurons, {each.config.id: each for each in models}, Outlook(), now)
