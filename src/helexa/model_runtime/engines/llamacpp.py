"""llama.cpp's server, as a `llama-server` binary or packaged in xllamacpp. Pure.

What is special about it, all measured: it notices a caller that left only while it streams, so it
is always asked for a stream with prompt progress; it accepts any model name; its 5xx may be the
caller's fault; and it continues a trailing assistant message by itself.
"""

from typing import ClassVar

import msgspec

from helexa.model_runtime.engines.aggregate import AggregateTranslation
from helexa.model_runtime.engines.body import (
    NO_FUNCTIONS,
    Body,
    BodyError,
    clamp_tokens,
    is_plain_chat,
    refused,
    trailing_assistant_text,
)
from helexa.model_runtime.engines.llamacpp_options import OPTIONS, Settings, arguments
from helexa.model_runtime.engines.options import option_problems
from helexa.model_runtime.engines.prefill import needs_token_texts
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
from helexa.protocol.errors import ErrorCode
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.workload import Operation, Workload

_LLAMA_SERVER = "llama-server"
_PACKAGED = "xllamacpp_server"
_NOT_FOR_CALLERS = (
    # They would change the form of the answer, or reach into other requests' slots.
    "stream_options", "return_tokens", "timings_per_token", "id_slot", "lora", "verbose",
    "response_fields", "return_progress", "echo", "best_of", "suffix",
    # llama.cpp's own names of fields whose OpenAI names are checked for their range.
    "n_probs", "n_cmpl", "post_sampling_probs",
)  # fmt: skip


class LlamaCpp:
    """The default engine."""

    name: ClassVar[str] = "llamacpp"
    spawns: ClassVar[bool] = True
    options: ClassVar[tuple[OptionSpec, ...]] = OPTIONS
    binaries: ClassVar[tuple[str, ...]] = (_LLAMA_SERVER, _PACKAGED)
    instruments: ClassVar[Instruments | None] = Instruments("/metrics", "/props", "build_info")

    def problems(self, config: ModelConfig) -> list[str]:
        """Say all that is wrong with a config for this engine."""
        problems = option_problems(OPTIONS, config.options)
        if not config.source:
            problems.append("llamacpp needs `source`: where the model's GGUF file comes from")
        if config.listen_endpoint is not None:
            problems.append("llamacpp starts its own server: `listen_endpoint` has no effect")
        if problems:
            return problems
        options = Settings(config, None).options
        quantised = options.text("cache_type_v") not in ("f32", "f16", "bf16")
        if quantised and options.text("flash_attention") == "off":
            problems.append(
                f"option 'cache_type_v' is {options.text('cache_type_v')!r}; "
                "quantised values need flash attention, which is 'off'"
            )
        batch, micro_batch = options.integer("batch"), options.integer("micro_batch")
        if batch is not None and micro_batch is not None and micro_batch > batch:
            problems.append(
                f"option 'micro_batch' is {micro_batch}; allowed: at most batch={batch}"
            )
        return problems

    def launch(self, launch: Launch) -> LaunchPlan:
        """Return how to start the server; raises ValueError where nothing can be started."""
        problems = self.problems(launch.config)
        if problems:
            raise ValueError("; ".join(problems))
        if not launch.weights_path:
            raise ValueError("llamacpp cannot start without a weights file")
        settings = Settings(launch.config, launch.weights)
        program = _program(launch, settings.options.text("server") or "auto")
        headers = {"authorization": f"Bearer {launch.api_key}"} if launch.api_key else {}
        return LaunchPlan(
            argv=program + arguments(launch, settings),
            endpoint=f"http://127.0.0.1:{launch.port}",
            headers=headers,
        )

    def attach(self, config: ModelConfig) -> AttachPlan:
        """Raise ValueError: this engine is started, not attached to."""
        raise ValueError("llamacpp is started by the neuron; use engine = 'openai' to attach")

    def capability(self, config: ModelConfig, weights: WeightsSummary | None) -> ModelCapability:
        """Return what the weights and options make possible."""
        settings = Settings(config, weights)
        generates = not settings.is_embedder
        workloads: tuple[Workload, ...] = ()
        if generates:
            workloads += (Workload.CHAT, Workload.COMPLETION)
        if settings.embeds:
            workloads += (Workload.EMBEDDINGS,)
        return ModelCapability(
            workloads=workloads,
            context_tokens=settings.context_tokens,
            seats=settings.seats,
            memory_bytes=settings.memory_bytes(weights) if weights is not None else None,
            embedding_dimensions=(
                weights.embedding_dimensions if settings.embeds and weights is not None else None
            ),
            tools=_takes_tools(settings, weights),
            json_schema=generates,
            resume=generates,
        )

    def probe(self, config: ModelConfig, capability: ModelCapability) -> Probe:
        """Return its health route and one token (or one vector) as canary."""
        return standard_probe(config, capability)

    def call(self, inbound: InboundCall) -> OutboundCall | Failure:
        """Return the request as llama.cpp takes it, always streamed where text is generated."""
        try:
            body = Body(inbound.body)
            if inbound.operation is Operation.COUNT_TOKENS:
                return count_call(inbound, body)
            if inbound.operation is Operation.EMBEDDINGS:
                return embeddings_call(inbound, body)
            return _generation(inbound, body)
        except BodyError as error:
            return error.failure


def _takes_tools(settings: Settings, weights: WeightsSummary | None) -> bool | None:
    """Tell whether prompts will show tools: llama.cpp drops what a template has no place for."""
    if settings.is_embedder or settings.options.text("chat_template") is not None:
        return False  # none of the built-in templates knows tools
    return None if weights is None else "tools" in weights.chat_template


def standard_probe(config: ModelConfig, capability: ModelCapability) -> Probe:
    """Return the probe of any engine with `/health` and OpenAI's routes."""
    if Workload.CHAT not in capability.workloads:
        path, body = "/v1/embeddings", {"model": config.id, "input": "."}
    else:
        path = "/v1/chat/completions"
        body = {
            "model": config.id,
            "messages": [{"role": "user", "content": "."}],  # type: ignore[dict-item]
            "max_tokens": 1,  # type: ignore[dict-item]
        }
    return Probe(health_path="/health", canary_path=path, canary_body=msgspec.json.encode(body))


def embeddings_call(inbound: InboundCall, body: Body) -> OutboundCall | Failure:
    """Return an embeddings request; refuses vectors of a size that the model does not make."""
    made, wanted = inbound.capability.embedding_dimensions, body.integer("dimensions")
    if wanted is not None and made is not None and wanted != made:
        return refused(f"'dimensions' is {wanted}; this model's vectors have {made}")
    body.drop("dimensions", "stream", "user")
    body.set("model", inbound.config.id)
    return OutboundCall("/v1/embeddings", body.encode(), WholeTranslation())


def count_call(inbound: InboundCall, body: Body) -> OutboundCall:
    """Return the question how many tokens a chat's prompt has, by the engine's own template."""
    body.drop(*_NOT_FOR_CALLERS, "stream", "max_tokens")
    body.set("model", inbound.config.id)
    path = "/v1/chat/completions/input_tokens"
    return OutboundCall(path, body.encode(), CountTranslation(estimate(inbound.body)))


def _generation(inbound: InboundCall, body: Body) -> OutboundCall | Failure:
    chat = inbound.operation is Operation.CHAT
    problem = (NO_FUNCTIONS if body.get("functions") else None) if chat else _not_supported(body)
    if problem is not None:
        return problem
    if chat:
        _leave_only_the_named_tool(body)
    prefix = (trailing_assistant_text(body) or "") if chat else ""
    choices = body.integer("n") or 1
    wants_logprobs = body.get("logprobs") not in (None, False)
    hide_logprobs = bool(prefix) and not wants_logprobs and needs_token_texts(prefix)
    clamp_tokens(body, inbound.capability.context_tokens)
    body.drop(*_NOT_FOR_CALLERS)
    body.set("model", inbound.config.id)
    body.set("stream", value=True)
    body.set("return_progress", value=True)
    tells_count = inbound.stream and chat and is_plain_chat(body)
    if tells_count:
        body.set("timings_per_token", value=True)
    if hide_logprobs:
        body.set("logprobs", value=True)
        body.set("top_logprobs", 1)
    plan = AnswerPlan(
        chat=chat,
        include_usage=inbound.include_usage,
        choices_per_prompt=choices,
        prefix=prefix,
        hide_logprobs=hide_logprobs,
        legacy_logprobs=wants_logprobs and not chat,
        continues=inbound.continues,
        tells_count=tells_count,
        hides_cached=bool(inbound.tenant),
    )
    translation = StreamTranslation(plan) if inbound.stream else AggregateTranslation(plan)
    path = "/v1/chat/completions" if chat else "/v1/completions"
    return OutboundCall(path, body.encode(), translation)


def _leave_only_the_named_tool(body: Body) -> None:
    """Make a choice of one tool by name a choice of any, of that tool alone.

    llama.cpp takes a `tool_choice` that is an object for none at all, and warns only its log.
    """
    raw = body.raw("tool_choice")
    if raw is None or bytes(raw)[:1] != b"{":
        return
    try:
        name = msgspec.json.decode(raw, type=_NamedTool).function.name
        tools = msgspec.convert(body.get("tools") or [], list[_NamedTool])
    except msgspec.ValidationError as error:
        raise BodyError(refused(f"'tool_choice' cannot be read: {error}")) from None
    places = [place for place, tool in enumerate(tools) if tool.function.name == name]
    if not places:
        raise BodyError(refused(f"'tool_choice' names {name[:64]!r}, which is none of 'tools'"))
    body.set("tools", [body.get("tools")[places[0]]])
    body.set("tool_choice", "required")


class _ToolName(msgspec.Struct):
    name: str = ""


class _NamedTool(msgspec.Struct):
    function: _ToolName


def _not_supported(body: Body) -> Failure | None:
    """Refuse what llama.cpp would silently leave out of a completion."""
    if body.get("echo") is True:
        return refused("'echo' is not supported by this model", ErrorCode.NOT_SUPPORTED)
    if body.get("suffix"):
        return refused("'suffix' is not supported by this model", ErrorCode.NOT_SUPPORTED)
    best_of = body.integer("best_of")
    if best_of is not None and best_of != (body.integer("n") or 1):
        return refused("'best_of' is not supported by this model", ErrorCode.NOT_SUPPORTED)
    return None


def _program(launch: Launch, server: str) -> tuple[str, ...]:
    binary, script = launch.binaries.get(_LLAMA_SERVER), launch.binaries.get(_PACKAGED)
    if binary is not None and server != "packaged":
        return (binary,)
    if script is not None and server != _LLAMA_SERVER:
        return (launch.python, "-I", script)
    if server == _LLAMA_SERVER:
        raise ValueError("option 'server' is 'llama-server', but this neuron has no such binary")
    raise ValueError(
        "no llama.cpp on this neuron: install helexa[llama], or put llama-server on its PATH"
    )
