"""The store of weights that a neuron's settings describe."""

import sys

from helexa.config.neuron import NeuronConfig
from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.store import ModelStore
from helexa.neuron.process.spawn import Spawner


def spawner_for(config: NeuronConfig) -> Spawner:
    """Return what starts processes for a neuron with these settings."""
    environment = config.program_environment
    return Spawner(config.state_dir, sys.executable, program_environment=environment)


def store_for(config: NeuronConfig, spawner: Spawner) -> ModelStore:
    """Return the store in which a neuron with these settings keeps its weights."""
    hub = config.hub
    return ModelStore(
        config.weights_folder,
        further_folders=config.model_folders,
        packages=PipFetcher(spawner.run_program),
        hub=HubFetcher(str(hub.endpoint), hub.token_file) if hub.endpoint is not None else None,
    )
