"""A config's digest says whether a running engine is what is wanted."""

import msgspec

from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelCapability, ModelConfig

CONFIG = ModelConfig(id=ModelId("m"), engine="llamacpp", source="s", options={"a": 1, "b": 2})


def test_the_digest_changes_with_what_changes_the_engine_and_with_nothing_else() -> None:
    """R0.17, R1.9: ModelConfig and ModelCapability are values that compare and travel."""
    reordered = msgspec.structs.replace(CONFIG, options={"b": 2, "a": 1})
    renamed = msgspec.structs.replace(CONFIG, aliases=("other",))
    changed = msgspec.structs.replace(CONFIG, options={"a": 1, "b": 3})
    assert CONFIG.digest() == reordered.digest() == renamed.digest()
    assert CONFIG.digest() != changed.digest()


def test_a_capability_says_nothing_that_it_does_not_know() -> None:
    """R2.2, R2.7, R2.8, R2.9: workloads, context, throughput and memory, each of them optional."""
    capability = ModelCapability()
    assert (capability.context_tokens, capability.memory_bytes, capability.workloads) == (
        None,
        None,
        (),
    )
    assert capability.tokens_per_second is None
