"""What the engines' own descriptions say about a configured model, for the settings' check."""

from collections.abc import Sequence

from helexa.protocol.model import ModelConfig


def engine_problems(config: ModelConfig) -> Sequence[str]:
    """Say all that the description of the model's engine finds wrong with its options."""
    from helexa.model_runtime.engines.catalogue import ENGINES

    return ENGINES[config.engine].problems(config)
