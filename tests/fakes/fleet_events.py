"""Events of a small fleet that hypothesis chooses: a few numbers in, one event out."""

import msgspec
from hypothesis import strategies as st

from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.protocol.control import ProvisioningResponse
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelStatus
from helexa.protocol.neuron import NeuronHealth, NeuronLoad
from helexa.protocol.workload import Workload
from tests.fakes.fleet import GIB, capabilities, joined, model, register, status

Step = tuple[int, int, str, int]
"""What happens, to which neuron (it is its connection's number, too), model, and how."""
NAMES = "abcd"
STATES = (
    ModelState.LOADED,
    ModelState.LOADING,
    ModelState.FAILED,
    ModelState.UNLOADED,
    ModelState.UNLOADING,
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 13), st.integers(1, 4), st.sampled_from(NAMES), st.integers(0, len(STATES))
    ),
    max_size=40,
)


def _told(name: str, number: int, which: int) -> ModelStatus:
    """Return what a neuron says of a model; one in three has not measured its memory."""
    need = None if number % 3 == 0 else (1 + (number + which) % 3) * GIB
    able = ModelCapability(workloads=(Workload.CHAT,), seats=2, memory_bytes=need)
    state = STATES[which % len(STATES)]
    retry = {"failures": which, "retry_after_s": 4.0} if state is ModelState.FAILED else {}
    told = status(model(name), state, able, active_requests=which, **retry)
    if number % 4 == 2:  # it has a config of its own, and does not say which
        told = msgspec.structs.replace(told, config=None, config_digest="own")
    return told


def event_of(step: Step, state: FleetState, now: float) -> ev.Event:
    """Return what a step stands for in a fleet as it is."""
    what, number, name, which = step
    neuron_id, config = NeuronId(f"n{number}"), model(name)
    told = _told(name, number, which)
    view = state.snapshot(now).neurons.get(neuron_id)
    instance = view.instances.get(config.id) if view is not None else None
    pending = instance.pending if instance is not None else None
    match what:
        case 0 | 1:
            budget_bytes = (2 + number % 2 * 2) * GIB
            message = register(neuron_id, told, epoch=1 + which // 3, budget_bytes=budget_bytes)
            return joined(number, message)
        case 2:
            load = NeuronLoad(active_requests=which)
            return ev.NeuronBeat(neuron_id, number, NeuronHealth(), load, (told,) if which else ())
        case 3:
            return ev.ModelReported(neuron_id, number, told)
        case 4:
            return ev.NeuronGone(neuron_id, number, "closed")
        case 5:
            command_id = pending.command_id if pending else "none"
            answer = ProvisioningResponse(
                command_id=command_id,  # type: ignore[arg-type]
                model_id=config.id,
                accepted=which > 0,
            )
            return ev.CommandAnswered(neuron_id, number, answer)
        case 6:
            return ev.RequestOutcome(neuron_id, config.id, ok=which > 1, latency_ms=1.0)
        case 7:
            names = NAMES[: which + 1]
            rules = ModelRules(min_replicas=which % 3, max_replicas=3, guaranteed=which == 2)
            configs = tuple(map(model, names))
            return ev.DesiredChanged(models=configs, rules={c.id: rules for c in configs})
        case 8:
            return ev.ModelWanted(config.id) if which else ev.ModelUnwanted(config.id)
        case 9:
            return ev.NeuronMarked(neuron_id, cordoned=which > 1, draining=which > 3)
        case 10:
            engines = ("echo", "other") if which % 2 else ("other",)
            able = capabilities((1 + which) * GIB, engines if which else ("echo",))
            return ev.CapabilitiesChanged(neuron_id, number, able, (told,) if which else ())
        case 11:
            mine = register(neuron_id)
            kept = frozenset({config.id})
            return ev.NeuronRestored(mine.neuron, mine.capabilities, (told,), kept)
        case 12:
            return ev.NeuronHeard(neuron_id, number, now)
        case _:
            return ev.Tick()
