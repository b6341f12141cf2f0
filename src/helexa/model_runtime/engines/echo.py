"""Our own deterministic engine, a real process that can be told to fail in every way. Pure.

For tests, demonstrations and capacity trials: its text is a function of the request id and the
token number (`model_runtime.echo_text`), and its faults are options.
"""

from typing import ClassVar, Final

from helexa.model_runtime.engines.body import Body, BodyError, clamp_tokens
from helexa.model_runtime.engines.llamacpp import count_call, embeddings_call, standard_probe
from helexa.model_runtime.engines.options import Options, option_problems
from helexa.model_runtime.engines.stream import AnswerPlan, StreamTranslation
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

SEATS_DEFAULT: Final = 64
MEMORY_BYTES: Final = 48 << 20
DIMENSIONS: Final = 384
_SERVER: Final = "echo_server"
_TOKENS_MAX: Final = 1 << 20


def _at_token(name: str, text: str) -> OptionSpec:
    return OptionSpec(name=name, kind="int", minimum=0, maximum=_TOKENS_MAX, text=text)


_OPTIONS: Final = (
    OptionSpec(
        name="tokens_per_second",
        kind="float",
        minimum=0,
        maximum=100_000,
        default=0.0,
        text="Rate of each stream; 0 is as fast as it can.",
    ),
    OptionSpec(
        name="first_token_delay_ms",
        kind="int",
        minimum=0,
        maximum=600_000,
        default=0,
        text="Time before the first token.",
    ),
    OptionSpec(
        name="default_tokens",
        kind="int",
        minimum=1,
        maximum=_TOKENS_MAX,
        default=16,
        text="Length of an answer for which the caller sets no bound.",
    ),
    OptionSpec(
        name="parallel",
        kind="int",
        minimum=1,
        maximum=4096,
        default=SEATS_DEFAULT,
        text="Requests worked on at the same time.",
    ),
    OptionSpec(
        name="context_tokens",
        kind="int",
        minimum=16,
        maximum=_TOKENS_MAX,
        default=8192,
        text="Words of prompt and tokens of answer that one request may have.",
    ),
    OptionSpec(
        name="start_delay_ms",
        kind="int",
        minimum=0,
        maximum=600_000,
        default=0,
        text="Time before the server says that it is ready.",
    ),
    OptionSpec(
        name="exit_on_start",
        kind="int",
        minimum=1,
        maximum=125,
        text="End at once with this exit status instead of serving.",
    ),
    OptionSpec(
        name="error_status",
        kind="int",
        minimum=400,
        maximum=599,
        text="Answer every request with this HTTP status.",
    ),
    OptionSpec(
        name="crash_on_prompt",
        kind="str",
        pattern=r"[A-Za-z0-9_. -]{1,64}",
        text="Die on a prompt that holds this text.",
    ),
    _at_token("stall_at_token", "Send nothing any more from this token on."),
    _at_token("crash_at_token", "Die at this token of any answer."),
    _at_token("garbage_at_token", "Send garbage instead of this token."),
    OptionSpec(
        name="garbage",
        kind="str",
        choices=("invalid_utf8", "half_json", "long_line", "wrong_shape", "foreign_id"),
        default="invalid_utf8",
        text="What garbage is sent.",
    ),
    _at_token("truncate_at_token", "End the body cleanly before this token, without an end mark."),
)


class Echo:
    """The echo engine: needs no weights."""

    name: ClassVar[str] = "echo"
    spawns: ClassVar[bool] = True
    options: ClassVar[tuple[OptionSpec, ...]] = _OPTIONS
    binaries: ClassVar[tuple[str, ...]] = (_SERVER,)
    instruments: ClassVar[Instruments | None] = None

    def problems(self, config: ModelConfig) -> list[str]:
        """Say all that is wrong with a config for this engine."""
        problems = option_problems(_OPTIONS, config.options)
        if config.source is not None:
            problems.append("echo has no weights: `source` has no effect")
        if config.listen_endpoint is not None:
            problems.append("echo starts its own server: `listen_endpoint` has no effect")
        return problems

    def launch(self, launch: Launch) -> LaunchPlan:
        """Return how to start the server; raises ValueError where it is not to be had."""
        problems = self.problems(launch.config)
        if problems:
            raise ValueError("; ".join(problems))
        script = launch.binaries.get(_SERVER)
        if script is None:
            raise ValueError("this neuron does not allow the echo engine's server")
        argv = [launch.python, "-I", script, "--port", str(launch.port)]
        argv += ["--model-id", launch.config.id]
        options = Options(_OPTIONS, launch.config)
        for spec in _OPTIONS:
            value = options.value(spec.name)
            if value is not None and spec.name != "parallel":
                argv += [f"--{spec.name.replace('_', '-')}", str(value)]
        headers = {}
        if launch.api_key:
            argv += ["--api-key-file", launch.key_file]
            headers["authorization"] = f"Bearer {launch.api_key}"
        return LaunchPlan(
            argv=tuple(argv), endpoint=f"http://127.0.0.1:{launch.port}", headers=headers
        )

    def attach(self, config: ModelConfig) -> AttachPlan:
        """Raise ValueError: this engine is started, not attached to."""
        raise ValueError("echo is started by the neuron; use engine = 'openai' to attach")

    def capability(self, config: ModelConfig, weights: WeightsSummary | None) -> ModelCapability:
        """Return what the server can do, which is always the same."""
        options = Options(_OPTIONS, config)
        return ModelCapability(
            workloads=(Workload.CHAT, Workload.COMPLETION, Workload.EMBEDDINGS),
            context_tokens=options.integer("context_tokens"),
            seats=options.integer("parallel") or SEATS_DEFAULT,
            memory_bytes=MEMORY_BYTES,
            embedding_dimensions=DIMENSIONS,
            tools=False,
            json_schema=False,
            resume=True,
            tokens_per_second=options.number("tokens_per_second") or None,
        )

    def probe(self, config: ModelConfig, capability: ModelCapability) -> Probe:
        """Return its health route and a canary that no fault but those of starting concerns."""
        standard = standard_probe(config, capability)
        faults = ("stall_at_token", "crash_at_token", "garbage_at_token", "truncate_at_token")
        if any(name in config.options for name in (*faults, "error_status")):
            # These faults are meant for requests: a canary that hit them would end all trials.
            return Probe(health_path=standard.health_path)
        return standard

    def call(self, inbound: InboundCall) -> OutboundCall | Failure:
        """Return the request, with the id that its text is made of."""
        headers = {"x-request-id": inbound.request_id}
        try:
            body = Body(inbound.body)
            if inbound.operation is Operation.COUNT_TOKENS:
                return count_call(inbound, body)
            if inbound.operation is Operation.EMBEDDINGS:
                return embeddings_call(inbound, body)
            chat = inbound.operation is Operation.CHAT
            if any(body.get(name) is not None for name in ("max_completion_tokens", "max_tokens")):
                clamp_tokens(body, inbound.capability.context_tokens)
            body.set("model", inbound.config.id)
            body.set("stream", inbound.stream)
            body.set("stream_options", {"include_usage": True})
        except BodyError as error:
            return error.failure
        plan = AnswerPlan(
            chat=chat, include_usage=inbound.include_usage, continues=inbound.continues
        )
        translation = StreamTranslation(plan) if inbound.stream else WholeTranslation()
        path = "/v1/chat/completions" if chat else "/v1/completions"
        return OutboundCall(path, body.encode(), translation, headers=headers)
