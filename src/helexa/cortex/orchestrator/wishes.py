"""What should run: the configured models, and those that requests asked for. Pure."""

from collections.abc import Iterable, Mapping

from helexa.cortex.orchestrator.events import DesiredChanged, ModelWanted
from helexa.cortex.orchestrator.neurons import Neuron
from helexa.cortex.orchestrator.policy import DEMAND_S
from helexa.cortex.orchestrator.snapshot import DesiredModel, ModelView
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState


class Wishes:
    """The models that should be loaded, and why.

    With `preload`, a configured model is desired from the start; without, from the first request
    that asks for it. A model that only a neuron knows is desired while a request waits for it.
    """

    def __init__(self, *, preload: bool) -> None:
        self._preload = preload
        self._demanded: dict[ModelId, tuple[float, str]] = {}
        self.configured: dict[ModelId, DesiredModel] = {}

    def configure(self, event: DesiredChanged) -> None:
        """Replace the configured models."""
        self.configured = {
            config.id: DesiredModel(
                config=config,
                digest=config.digest(),
                replicas_min=event.replicas_min.get(config.id, 1),
                cause=event.cause,
            )
            for config in event.models
        }

    def want(self, event: ModelWanted, now: float) -> bool:
        """Note that a model is asked for; True if nobody had asked before."""
        new = event.model_id not in self._demanded
        self._demanded[event.model_id] = (now, event.cause)
        return new

    def satisfied(self, model_id: ModelId) -> None:
        """Note that a model is loaded now."""
        self._demanded.pop(model_id, None)

    def expires(self, now: float) -> bool:
        """Drop demands that nothing came of; True if there were any."""
        old = [key for key, (at_s, _) in self._demanded.items() if now - at_s >= DEMAND_S]
        for key in old:
            del self._demanded[key]
        return bool(old)

    def desired(
        self, neurons: Iterable[Neuron], known: Mapping[str, ModelView]
    ) -> dict[ModelId, DesiredModel]:
        """Return what should run. `known` are all models of the last snapshot."""
        if self._preload:
            desired = dict(self.configured)
        else:
            held = {
                m for n in neurons for m, i in n.instances.items() if i.owned or _is_up(i.state)
            }
            desired = {k: v for k, v in self.configured.items() if k in held}
        for model_id, (_, cause) in self._demanded.items():
            if model_id in desired:
                continue
            if model_id in self.configured:
                desired[model_id] = self.configured[model_id]
            elif model_id in known:
                config = known[model_id].config
                desired[model_id] = DesiredModel(
                    config, config.digest(), demanded=True, cause=cause
                )
        return desired


def _is_up(state: ModelState) -> bool:
    return state in {ModelState.LOADED, ModelState.LOADING}
