"""Which neuron can hold a model, and why no other. Pure.

A neuron's memory is booked, not measured: its budget less what its models are known to need,
those included that are only about to be loaded. So two loads that are decided in one moment never
get the same bytes. The neuron checks again with what is free at that time, and may refuse.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.snapshot import Instance, NeuronView
from helexa.protocol.control import LoadModel
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig

_HOLDING = frozenset({ModelState.LOADING, ModelState.LOADED, ModelState.UNLOADING})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One neuron's answer to "could you hold this model?"."""

    neuron_id: NeuronId
    fits: bool
    because: str
    free_bytes: int
    known: bool = False
    """It has the model's config already, and so most likely its weights."""
    not_before_s: float = 0.0
    """It may be asked again at this time; 0 where time alone changes nothing."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model goes (None: nowhere), and what each neuron had to say."""

    neuron_id: NeuronId | None
    verdicts: tuple[Verdict, ...]
    needs_bytes: int

    @property
    def next_attempt_s(self) -> float | None:
        """Return when waiting may help, or None where it cannot."""
        times = [v.not_before_s for v in self.verdicts if v.not_before_s]
        return min(times) if times else None

    def because(self) -> str:
        """Say in one line, with numbers, why no neuron can hold it."""
        if not self.verdicts:
            return "no neuron is connected"
        told = "; ".join(f"{v.neuron_id}: {v.because}" for v in self.verdicts[:8])
        more = f"; and {len(self.verdicts) - 8} more" if len(self.verdicts) > 8 else ""
        need = f" (needs {gibibytes(self.needs_bytes)})" if self.needs_bytes else ""
        return f"no neuron can take it now{need}: {told}{more}"


def gibibytes(byte_count: int) -> str:
    """Return a size for people: `21.4 GiB`, and MiB below a tenth of one."""
    if byte_count < 2**30 // 10:
        return f"{byte_count / 2**20:.0f} MiB"
    return f"{byte_count / 2**30:.1f} GiB"


def booked_bytes(neuron: NeuronView, models: dict[ModelId, int]) -> int:
    """Return the memory that a neuron's models need or are about to need.

    `models` tells the need of models that the neuron itself has not measured.
    """
    total = 0
    for model_id, instance in neuron.instances.items():
        if instance.state in _HOLDING or instance.recovering or _is_coming(instance):
            total += need_on(instance, models.get(model_id, 0))
    return total


def need_on(instance: Instance, elsewhere_bytes: int) -> int:
    """Return what a model needs on one neuron: its own figure, else that of other neurons."""
    status = instance.status
    if status is not None and status.capability is not None:
        own = status.capability.memory_bytes
        if own is not None:
            return own
    return elsewhere_bytes


def _is_coming(instance: Instance) -> bool:
    return instance.pending is not None and isinstance(instance.pending.command, LoadModel)


def needs_of_models(neurons: Iterable[NeuronView]) -> dict[ModelId, int]:
    """Return each model's largest known need in bytes; a model nobody measured is absent."""
    needs: dict[ModelId, int] = {}
    for neuron in neurons:
        for model_id, instance in neuron.instances.items():
            need = need_on(instance, 0)
            if need:
                needs[model_id] = max(needs.get(model_id, 0), need)
    return needs


def place(
    config: ModelConfig,
    neurons: Iterable[NeuronView],
    booked: dict[NeuronId, int],
    needs: dict[ModelId, int],
    now: float,
) -> Placement:
    """Choose the neuron for one more replica of a model.

    `booked` is the memory already spoken for, per neuron. Order: has the config already, most
    free memory, then a hash of both names, so that equal neurons share the models out.
    """
    digest = config.digest()
    verdicts = [_judge(config, digest, n, booked, needs, now) for n in neurons]
    fitting = [v for v in verdicts if v.fits]
    best = min(
        fitting,
        key=lambda v: (not v.known, -v.free_bytes, _mixed(config.id, v.neuron_id)),
        default=None,
    )
    return Placement(
        neuron_id=best.neuron_id if best is not None else None,
        verdicts=tuple(verdicts),
        needs_bytes=needs.get(config.id, 0),
    )


def _mixed(model_id: ModelId, neuron_id: NeuronId) -> bytes:
    return hashlib.blake2b(f"{model_id}@{neuron_id}".encode(), digest_size=8).digest()


def _judge(
    config: ModelConfig,
    digest: str,
    neuron: NeuronView,
    booked: dict[NeuronId, int],
    needs: dict[ModelId, int],
    now: float,
) -> Verdict:
    neuron_id = neuron.descriptor.id
    instance = neuron.instances.get(config.id, Instance())
    budget = neuron.capabilities.memory_budget_bytes
    free = budget - booked.get(neuron_id, 0)
    need = need_on(instance, needs.get(config.id, 0))
    not_before = 0.0
    if neuron.state is not NeuronState.CONNECTED:
        because = f"is {neuron.state}"
    elif neuron.cordoned:
        because = "is draining" if neuron.draining else "is cordoned"
    elif config.engine not in neuron.capabilities.engines:
        allowed = ", ".join(neuron.capabilities.engines) or "none"
        because = f"does not allow engine {config.engine} (allows {allowed})"
    elif need > free:
        because = f"{gibibytes(max(free, 0))} free of {gibibytes(budget)}"
    elif instance.not_before_s > now:
        because = instance.because or _failure(instance) or "waits after a failure"
        not_before = instance.not_before_s
    else:
        known = instance.known_digest == digest
        return Verdict(neuron_id, fits=True, because="", free_bytes=free, known=known)
    return Verdict(neuron_id, fits=False, because=because, free_bytes=free, not_before_s=not_before)


def _failure(instance: Instance) -> str:
    return instance.status.because if instance.status is not None else ""
