"""The options of llama.cpp, and the arguments and memory that follow from them. Pure.

Only what is rendered here can ever reach the command line. Nothing of it names a file, an address
or a tool: those are the neuron's to choose.
"""

from typing import Final

from helexa.model_runtime.engines.options import Options
from helexa.model_runtime.interfaces import Launch, OptionSpec, WeightsSummary
from helexa.model_runtime.models.memory import CACHE_TYPE_BYTES, EngineMemory, estimate
from helexa.protocol.model import ModelConfig

CONTEXT_TOKENS_DEFAULT: Final = 4096
SEATS_DEFAULT: Final = 4
MICRO_BATCH_DEFAULT: Final = 512
SEAT_SIMILARITY: Final = "0.8"
"""Share of a prompt that a seat must hold to be taken for the seat of its conversation. With
llama.cpp's own 0.1 any seat with the same system prompt is: what follows it there is overwritten
unsaved, and the prompt's own state is not looked for among the saved ones. The larger this is, the
more often a long turn is read from its beginning."""
_CACHE_TYPES: Final = tuple(CACHE_TYPE_BYTES)
_CHAT_TEMPLATES: Final = (
    "chatml", "command-r", "deepseek", "deepseek2", "deepseek3", "exaone3", "exaone4", "falcon3",
    "gemma", "gpt-oss", "granite", "granite-4.0", "kimi-k2", "llama2", "llama3", "llama4",
    "mistral-v1", "mistral-v3", "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken", "monarch",
    "openchat", "orion", "phi3", "phi4", "seed_oss", "smolvlm", "vicuna", "zephyr",
)  # fmt: skip

OPTIONS: Final = (
    OptionSpec(
        name="server",
        kind="str",
        choices=("auto", "llama-server", "packaged"),
        default="auto",
        text="Which build to run: a llama-server binary, the packaged one, or the best there is.",
    ),
    OptionSpec(
        name="context_tokens",
        kind="int",
        minimum=128,
        maximum=1 << 22,
        text="Tokens of prompt and answer that one request may have (default: 4096, or what the "
        "model was trained for if that is less).",
    ),
    OptionSpec(
        name="parallel",
        kind="int",
        minimum=1,
        maximum=256,
        default=SEATS_DEFAULT,
        text="Requests worked on at the same time; each has room for its whole context.",
    ),
    OptionSpec(
        name="threads",
        kind="int",
        minimum=1,
        maximum=1024,
        text="CPU threads (default: the neuron's choice).",
    ),
    OptionSpec(
        name="gpu_layers",
        kind="int",
        minimum=0,
        maximum=1000,
        text="Layers kept on the GPU (default: all where there is a GPU).",
    ),
    OptionSpec(
        name="batch",
        kind="int",
        minimum=32,
        maximum=1 << 16,
        text="Prompt tokens taken in one step; a request can be cancelled between steps "
        "(default: 512).",
    ),
    OptionSpec(
        name="micro_batch",
        kind="int",
        minimum=32,
        maximum=1 << 16,
        text="Prompt tokens computed at once, at most `batch`; an embedding input must fit in it "
        "(default: 512, the whole context for an embedding model).",
    ),
    OptionSpec(
        name="cache_type_k",
        kind="str",
        choices=_CACHE_TYPES,
        default="f16",
        text="Number format of cached keys.",
    ),
    OptionSpec(
        name="cache_type_v",
        kind="str",
        choices=_CACHE_TYPES,
        default="f16",
        text="Number format of cached values; a quantised one needs flash attention.",
    ),
    OptionSpec(
        name="flash_attention",
        kind="str",
        choices=("auto", "on", "off"),
        default="auto",
        text="Whether to use flash attention.",
    ),
    OptionSpec(
        name="embeddings",
        kind="bool",
        default=False,
        text="Make vectors with a model that generates text (an embedding model always does).",
    ),
    OptionSpec(
        name="pooling",
        kind="str",
        choices=("mean", "cls", "last"),
        text="How token vectors become one (default: what the model says, else mean).",
    ),
    OptionSpec(
        name="chat_template",
        kind="str",
        choices=_CHAT_TEMPLATES,
        text="A template of llama.cpp by name, instead of the model's own.",
    ),
    OptionSpec(
        name="cache_ram_mib",
        kind="int",
        minimum=0,
        maximum=1 << 20,
        default=256,
        text="Memory in MiB for prompts of earlier requests; 0 keeps none.",
    ),
    OptionSpec(
        name="seed",
        kind="int",
        minimum=0,
        maximum=(1 << 32) - 2,
        text="Seed of requests that bring none (default: a new one for each).",
    ),
)


class Settings:
    """The options of one config together with what its weights say; raises ValueError if bad."""

    def __init__(self, config: ModelConfig, weights: WeightsSummary | None) -> None:
        options = Options(OPTIONS, config)
        trained = weights.context_tokens_trained if weights is not None else None
        self.options = options
        self.is_embedder = weights is not None and weights.is_embedder
        self.embeds = self.is_embedder or options.flag("embeddings")
        self.seats = options.integer("parallel") or SEATS_DEFAULT
        fallback = min(trained or CONTEXT_TOKENS_DEFAULT, CONTEXT_TOKENS_DEFAULT)
        self.context_tokens = options.integer("context_tokens") or fallback
        # An encoder sees its whole input at once: what does not fit one micro batch is refused.
        whole = self.context_tokens if self.is_embedder else MICRO_BATCH_DEFAULT
        batch = options.integer("batch")
        self.micro_batch = options.integer("micro_batch") or batch or whole
        self.batch = max(batch or self.micro_batch, self.micro_batch)
        self.pooling = options.text("pooling")
        if self.pooling is None and self.embeds and not self.is_embedder:
            self.pooling = "mean"

    def memory_bytes(self, weights: WeightsSummary) -> int:
        """Estimate resident memory in bytes, all seats with full contexts.

        Prompts that `cache_ram_mib` keeps come later and on top.
        """
        memory = EngineMemory(
            context_tokens=self.context_tokens * self.seats,
            cache_type_k=self.options.text("cache_type_k") or "f16",
            cache_type_v=self.options.text("cache_type_v") or "f16",
            batch_tokens=self.micro_batch,
        )
        return estimate(weights, memory).total_bytes


def arguments(launch: Launch, settings: Settings) -> tuple[str, ...]:
    """Return the server's arguments, the same for a llama-server and for the packaged one.

    Every seat has its own room for a whole context: in a cache that seats share freely, a full
    cache fails all running requests at once, whoever filled it. And a shared one is emptied of what
    idle seats hold whenever a request begins: a prompt larger than `cache_ram_mib` is then lost.
    """
    options = settings.options
    argv = [
        *("--model", launch.weights_path or ""),
        *("--alias", launch.config.id),
        *("--host", "127.0.0.1"),
        *("--port", str(launch.port)),
        *("--parallel", str(settings.seats)),
        *("--no-kv-unified", "--ctx-size", str(settings.context_tokens * settings.seats)),
        *("--slot-prompt-similarity", SEAT_SIMILARITY),
        *("--batch-size", str(settings.batch)),
        *("--ubatch-size", str(settings.micro_batch)),
        *("--threads", str(options.integer("threads") or launch.threads)),
        # Each request holds a thread of the server; some are left for health and metrics.
        *("--threads-http", str(settings.seats * 2 + 4)),
        *("--cache-ram", str(options.integer("cache_ram_mib"))),
        *("--cache-type-k", options.text("cache_type_k") or "f16"),
        *("--cache-type-v", options.text("cache_type_v") or "f16"),
        *("--flash-attn", options.text("flash_attention") or "auto"),
        *("--gpu-layers", str(_gpu_layers(launch, options))),
        *("--metrics", "--no-webui", "--offline"),
        # A built-in template's name is known only without jinja; with it, it is taken for a text.
        "--jinja" if options.text("chat_template") in (None, "chatml") else "--no-jinja",
    ]
    if settings.embeds:
        argv.append("--embeddings")
    for flag, value in (
        ("--pooling", settings.pooling),
        ("--chat-template", options.text("chat_template")),
        ("--seed", options.integer("seed")),
    ):
        if value is not None:
            argv += [flag, str(value)]
    if launch.api_key:
        argv += ["--api-key-file", launch.key_file]
    return tuple(argv)


def _gpu_layers(launch: Launch, options: Options) -> int:
    chosen = options.integer("gpu_layers")
    if chosen is not None:
        return chosen
    return 999 if launch.gpu else 0
