"""Any running server that speaks OpenAI's API, reached by `listen_endpoint`. Pure.

Ollama, LM Studio, another helexa, a hosted API. The caller's body goes there as it came, but for
the model's name, and the answer comes back as it is.
"""

import re
from typing import ClassVar, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from helexa.model_runtime.engines.body import Body, BodyError
from helexa.model_runtime.engines.llamacpp import standard_probe
from helexa.model_runtime.engines.options import Options, option_problems
from helexa.model_runtime.engines.passthrough import PassThrough
from helexa.model_runtime.engines.token_count import estimate, told
from helexa.model_runtime.interfaces import (
    AttachPlan,
    Failure,
    InboundCall,
    Instruments,
    KnownAnswer,
    Launch,
    LaunchPlan,
    OptionSpec,
    OutboundCall,
    Probe,
    WeightsSummary,
)
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.protocol.workload import Operation, Workload

SEATS_DEFAULT: Final = 32
API_PATH_DEFAULT: Final = "/v1"
_ROUTES: Final = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETION: "/completions",
    Operation.EMBEDDINGS: "/embeddings",
}
_JSON_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError)
_MODEL_FIELD: Final = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')

_OPTIONS: Final = (
    OptionSpec(
        name="upstream_model",
        kind="str",
        pattern=r"[^\s\"\\]{1,256}",
        text="What the server calls the model (default: the model's id here).",
    ),
    OptionSpec(
        name="api_path",
        kind="str",
        default=API_PATH_DEFAULT,
        pattern=r"(/[A-Za-z0-9._-]{1,64}){0,6}",
        text="Path before /chat/completions; a `/v1` at the end of `listen_endpoint` counts too.",
    ),
    OptionSpec(
        name="api_key_file",
        kind="str",
        pattern=r"[A-Za-z0-9._/ -]{1,255}",
        text="File on the neuron with the server's API key, in its folder of secrets.",
    ),
    OptionSpec(
        name="parallel",
        kind="int",
        minimum=1,
        maximum=1 << 16,
        default=SEATS_DEFAULT,
        text="Requests sent to the server at the same time.",
    ),
    OptionSpec(
        name="context_tokens",
        kind="int",
        minimum=1,
        maximum=1 << 24,
        text="The model's context, where it is known; told to callers, not enforced.",
    ),
    OptionSpec(
        name="embedding_dimensions",
        kind="int",
        minimum=1,
        maximum=1 << 16,
        text="Size of the vectors, where it is known.",
    ),
    OptionSpec(name="chat", kind="bool", default=True, text="The model answers chats."),
    OptionSpec(name="completions", kind="bool", default=True, text="It completes plain text."),
    OptionSpec(name="embeddings", kind="bool", default=False, text="It makes vectors."),
    OptionSpec(name="tools", kind="bool", text="It calls tools (default: not known, so tried)."),
    OptionSpec(name="vision", kind="bool", default=False, text="It sees images."),
    OptionSpec(
        name="json_schema",
        kind="bool",
        text="It keeps to JSON schemas (default: not known, so tried).",
    ),
    OptionSpec(
        name="ask_usage",
        kind="bool",
        default=False,
        text="Ask for a usage frame in every stream, so that all are counted; callers see it.",
    ),
)


class OpenAi:
    """Attaches to a running server and starts nothing."""

    name: ClassVar[str] = "openai"
    spawns: ClassVar[bool] = False
    options: ClassVar[tuple[OptionSpec, ...]] = _OPTIONS
    binaries: ClassVar[tuple[str, ...]] = ()
    instruments: ClassVar[Instruments | None] = None

    def problems(self, config: ModelConfig) -> list[str]:
        """Say all that is wrong with a config for this engine."""
        problems = option_problems(_OPTIONS, config.options)
        if config.source is not None:
            problems.append("openai attaches to a running server: `source` has no effect")
        if not config.listen_endpoint:
            problems.append("openai needs `listen_endpoint`: the server's URL")
        else:
            problem = _endpoint_problem(config.listen_endpoint)
            if problem:
                problems.append(problem)
        if not problems and not self.capability(config, None).workloads:
            problems.append(
                "one of the options 'chat', 'completions' and 'embeddings' must be true"
            )
        return problems

    def launch(self, launch: Launch) -> LaunchPlan:
        """Raise ValueError: this engine attaches, it does not start."""
        raise ValueError("openai attaches to a running server and starts none")

    def attach(self, config: ModelConfig) -> AttachPlan:
        """Return where the server is and which file has its key; raises ValueError if unusable."""
        problems = self.problems(config)
        if problems:
            raise ValueError("; ".join(problems))
        endpoint = (config.listen_endpoint or "").rstrip("/")
        return AttachPlan(
            endpoint=endpoint.removesuffix(API_PATH_DEFAULT),
            key_file=Options(_OPTIONS, config).text("api_key_file"),
        )

    def capability(self, config: ModelConfig, weights: WeightsSummary | None) -> ModelCapability:
        """Return what the config says that the server can do; its memory is not ours."""
        options = Options(_OPTIONS, config)
        workloads = tuple(
            workload
            for name, workload in (
                ("chat", Workload.CHAT),
                ("completions", Workload.COMPLETION),
                ("embeddings", Workload.EMBEDDINGS),
                ("vision", Workload.VISION),
            )
            if options.flag(name)
        )
        return ModelCapability(
            workloads=workloads,
            context_tokens=options.integer("context_tokens"),
            seats=options.integer("parallel") or SEATS_DEFAULT,
            embedding_dimensions=options.integer("embedding_dimensions"),
            tools=options.known_flag("tools"),
            vision=options.flag("vision"),
            json_schema=options.known_flag("json_schema"),
        )

    def probe(self, config: ModelConfig, capability: ModelCapability) -> Probe:
        """Return one real request and no health route: nothing else is known to be there."""
        options = Options(_OPTIONS, config)
        upstream = msgspec.structs.replace(config, id=_upstream_model(config))
        standard = standard_probe(upstream, capability)
        path = (standard.canary_path or "").removeprefix("/v1")
        return Probe(
            health_path=None,
            canary_path=f"{options.text('api_path') or ''}{path}",
            canary_body=standard.canary_body,
        )

    def call(self, inbound: InboundCall) -> OutboundCall | KnownAnswer | Failure:
        """Return the caller's own body, with the name that the server knows the model by.

        The options were checked before the config was taken; here, on the path of every request,
        they are only read.
        """
        if inbound.operation is Operation.COUNT_TOKENS:  # OpenAI's API has no such question
            return KnownAnswer(told(estimate(inbound.body), estimated=True))
        options = inbound.config.options
        path = f"{options.get('api_path', API_PATH_DEFAULT)}{_ROUTES[inbound.operation]}"
        try:
            body = with_model(inbound.body, _upstream_model(inbound.config))
            if options.get("ask_usage") and inbound.stream and not inbound.include_usage:
                fields = Body(body)
                fields.set("stream_options", {"include_usage": True})
                body = fields.encode()
        except BodyError as error:
            return error.failure
        return OutboundCall(path, body, PassThrough())


class _Named(msgspec.Struct):
    model: str = ""


_decode_named: Final = msgspec.json.Decoder(_Named).decode


def with_model(body: bytes, model: str) -> bytes:
    """Return a JSON body whose `model` is the given one, otherwise byte for byte the same.

    Raises BodyError if it is no JSON object. Where the place of the name is not beyond doubt (the
    word occurs again in a message), the object is written anew from its fields' own bytes.
    """
    try:
        if not body.isascii():
            body.decode()
        if _decode_named(body).model == model:
            return body
    except _JSON_ERRORS:
        pass  # said below, in the words of `Body`
    fields = Body(body)
    named = fields.raw("model")
    quoted = msgspec.json.encode(model)
    matches = list(_MODEL_FIELD.finditer(body)) if body.count(b'"model"') == 1 else []
    if len(matches) == 1 and named is not None:
        start, end = matches[0].span(1)
        return body[:start] + quoted + body[end:]
    fields.set("model", model)
    return fields.encode()


def _upstream_model(config: ModelConfig) -> str:
    return str(config.options.get("upstream_model") or config.id)


def _endpoint_problem(endpoint: str) -> str:
    allowed = "a URL such as http://127.0.0.1:11434 or https://host/v1"
    if len(endpoint) > 512 or any(ord(character) <= 32 for character in endpoint):
        return f"`listen_endpoint` is {endpoint[:64]!r}; allowed: {allowed}"
    try:
        parts: SplitResult = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        return f"`listen_endpoint` is {endpoint!r}: {error}; allowed: {allowed}"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return f"`listen_endpoint` is {endpoint!r}; allowed: {allowed}"
    if parts.username is not None or parts.password is not None:
        return "`listen_endpoint` must not hold a user or key: use the option 'api_key_file'"
    if parts.query or parts.fragment:
        return f"`listen_endpoint` is {endpoint!r}; it must not have a query or fragment"
    return ""
