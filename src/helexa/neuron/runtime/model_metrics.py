"""How long models take to come up, and how often their engines had to be started again."""

from typing import Final

from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from helexa.util.metrics import LOAD_S, Metrics

_LOAD: Final = "From the begin of a load to the model's first token, downloads included"
_RESTARTS: Final = "Loads that were begun because the one before had failed"


class ModelMetrics:
    """Reads the reports of the registry; what it remembers of a model ends with its load."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._began_s: dict[ModelId, float] = {}
        self._failed: set[ModelId] = set()
        self._downloads = metrics.counter(
            "helexa_download_bytes_total", "Bytes of weights that were downloaded"
        )

    def downloaded(self, byte_count: int) -> None:
        """Count bytes of weights that have come."""
        self._downloads.inc(byte_count)

    def told(self, status: ModelStatus, now: float) -> None:
        """Take one report."""
        model_id, state = status.model_id, status.state
        if state is ModelState.LOADING:
            if model_id not in self._began_s:
                self._began_s[model_id] = now
                self._begun(model_id)
            return
        began_s = self._began_s.pop(model_id, None)
        if state is ModelState.LOADED and began_s is not None:
            self._metrics.histogram(
                "helexa_model_load_duration_seconds", _LOAD, LOAD_S, model=model_id
            ).observe(now - began_s)
        if state is ModelState.FAILED:
            self._failed.add(model_id)
        else:
            self._failed.discard(model_id)

    def _begun(self, model_id: ModelId) -> None:
        if model_id in self._failed:
            self._failed.discard(model_id)
            self._metrics.counter("helexa_engine_restarts_total", _RESTARTS, model=model_id).inc()
