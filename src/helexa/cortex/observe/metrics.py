"""The fleet's gauges, set from the snapshot. Their names are a contract: docs/metrics.md.

Counting a large fleet takes milliseconds, so it is done when somebody reads the metrics.
"""

from typing import Final

from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.util.metrics import Cell, Metrics

_NEURONS: Final = "Known neurons by state"
_INSTANCES: Final = "Models on connected neurons by state"
_DESIRED: Final = "Replicas that should be loaded"
_AGE: Final = "Seconds since a neuron was last heard"
_CONFLICTS: Final = "Neurons refused because their id is in use"


class FleetMetrics:
    """Keeps the fleet's series up to date. Series that no longer apply go to 0."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._instances: dict[tuple[str, ModelState], Cell] = {}
        self._desired: dict[str, Cell] = {}
        self._ages: dict[NeuronId, Cell] = {}
        self._conflicts: dict[NeuronId, int] = {}

    def update(self, snapshot: FleetSnapshot) -> None:
        """Set every gauge from a snapshot."""
        self._count_neurons(snapshot)
        self._count_instances(snapshot)
        for cell in self._desired.values():
            cell.set(0)
        for model_id, desired in snapshot.desired.items():
            if model_id not in self._desired:
                self._desired[model_id] = self._metrics.gauge(
                    "helexa_replicas_desired", _DESIRED, model=model_id
                )
            self._desired[model_id].set(desired.replicas)

    def _count_neurons(self, snapshot: FleetSnapshot) -> None:
        counts = dict.fromkeys(NeuronState, 0)
        for neuron_id, neuron in snapshot.neurons.items():
            counts[neuron.state] += 1
            if neuron_id not in self._ages:
                self._ages[neuron_id] = self._metrics.gauge(
                    "helexa_neuron_heartbeat_age_seconds", _AGE, neuron=neuron_id
                )
            self._ages[neuron_id].set(round(snapshot.taken_s - neuron.last_heard_s, 3))
            new = neuron.conflicts - self._conflicts.get(neuron_id, 0)
            if new > 0:
                self._metrics.counter(
                    "helexa_neuron_conflicts_total", _CONFLICTS, neuron=neuron_id
                ).inc(new)
            self._conflicts[neuron_id] = neuron.conflicts
        for neuron_id in self._ages.keys() - snapshot.neurons.keys():
            self._ages.pop(neuron_id).set(0)
            self._conflicts.pop(neuron_id, None)
        for state, count in counts.items():
            self._metrics.gauge("helexa_neurons", _NEURONS, state=state.value).set(count)

    def _count_instances(self, snapshot: FleetSnapshot) -> None:
        counts: dict[tuple[str, ModelState], int] = {}
        for model_id, view in snapshot.models.items():
            for state in view.states.values():
                counts[model_id, state] = counts.get((model_id, state), 0) + 1
        for key in counts.keys() - self._instances.keys():
            self._instances[key] = self._metrics.gauge(
                "helexa_instances", _INSTANCES, model=key[0], state=key[1].value
            )
        for key, cell in self._instances.items():
            cell.set(counts.get(key, 0))
