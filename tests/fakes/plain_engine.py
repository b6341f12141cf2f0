"""An engine description that changes nothing, and the other parts of a neuron that requests see."""

from dataclasses import dataclass, field

from helexa.model_runtime.interfaces import Ending, Failure, OutboundCall
from helexa.neuron.registry.admission import Admission, Admitted, Queued
from helexa.neuron.registry.commands import RunningModel
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import ResponseHead, Usage
from helexa.protocol.model import ModelCapability, ModelConfig


class PlainTranslation:
    """Bytes pass as they are; a stream is whole if it ends in [DONE], anything else by framing."""

    def __init__(self, stream: bool) -> None:
        self.head = None
        self.failure = None
        self.produced = False
        self._stream = stream
        self._held = b""
        self._passed_on = ResponseHead()

    def on_head(self, status, headers):
        content_type = headers.get("content-type", "application/json")
        if status == 400:
            self.failure = Failure(ErrorCode.CONTEXT_LENGTH_EXCEEDED, "too long", False)
        elif status == 504:
            self._passed_on = ResponseHead(status=status)
        elif status != 200:
            text = "the engine failed"
            self.failure = Failure(ErrorCode.INTERNAL_ERROR, text, detail="out of memory")
        elif self._stream:
            self.head = ResponseHead(content_type=content_type)

    def on_data(self, data):
        if b"EXPLODE" in data:
            raise RuntimeError("a bug in a translation, with secret text")
        self._held = (self._held + data)[-64:] if self._stream else self._held + data
        self.produced = self.produced or b"token" in data
        if b"GIVE UP" in data:
            self.failure = Failure(ErrorCode.ENGINE_GARBAGE, "gave up")
            return b""
        if b"CALLER" in data:
            self.failure = Failure(ErrorCode.INVALID_REQUEST_BODY, "the caller's", False)
            return b""
        return data if self._stream else b""

    def on_end(self, *, complete):
        whole = self._held.endswith(b"[DONE]\n\n") if self._stream else complete
        if not whole:
            return Ending(
                b"",
                None,
                failure=Failure(ErrorCode.UPSTREAM_CONNECTION_ERROR, "the answer was cut"),
            )
        usage = Usage(prompt_tokens=5, completion_tokens=7, cached_tokens=2)
        if self._stream:
            return Ending(b"", usage, "stop")
        self.head = self._passed_on
        return Ending(self._held, usage, "stop")


class PlainEngine:
    """Sends the body as it came."""

    name = "plain"
    options = ()
    binaries = ()
    instruments = None

    def __init__(self, spawns: bool = True) -> None:
        self.spawns = spawns
        self.last = None

    def call(self, inbound):
        self.last = inbound
        if inbound.body == b"BAD":
            return Failure(ErrorCode.INVALID_REQUEST_BODY, "no", blames_engine=False)
        if inbound.body == b"BUG":
            raise RuntimeError("a bug in a description")
        return OutboundCall("/v1/x", inbound.body, PlainTranslation(inbound.stream), {"x-a": "b"})


@dataclass
class FakeModels:
    """What runs here, and a record of what the executor told."""

    models: dict[str, RunningModel] = field(default_factory=dict)
    condemned: list[str] = field(default_factory=list)
    ended: list[tuple[float | None, bool]] = field(default_factory=list)
    paces: list[float | None] = field(default_factory=list)

    def serve(self, endpoint: str, model_id: str = "m", attempt: int = 1) -> RunningModel:
        model = RunningModel(
            model_id=ModelId(model_id),
            engine="plain",
            endpoint=endpoint,
            headers={"authorization": "Bearer k"},
            config=ModelConfig(id=ModelId(model_id), engine="plain"),
            capability=ModelCapability(seats=2),
            worker_id=f"{model_id}#{attempt}",
            attempt=attempt,
        )
        self.models[model_id] = model
        return model

    def running(self, model_id):
        return self.models.get(model_id)

    def refusal(self, model_id):
        return Refusal(ErrorCode.MODEL_LOADING, f"{model_id} is loading")

    def condemn(self, model, because):
        self.condemned.append(model.worker_id)

    def request_ended(self, model_id, latency_ms, tokens_per_second, *, failed):
        self.ended.append((latency_ms, failed))
        self.paces.append(tokens_per_second)


class FakeSeats:
    """One `Admission` for all models, told nothing of time."""

    def __init__(self, seats: int = 64, queue_max: int = 8) -> None:
        self.admission = Admission(seats, queue_max)
        self._watchers = {}

    def ask(self, model_id, ticket, on_verdict):
        outcome = self.admission.ask(ticket, 0.0)
        if isinstance(outcome, Queued):
            self._watchers[ticket] = on_verdict
        return outcome

    def release(self, ticket):
        self._watchers.pop(ticket, None)
        self.tell(self.admission.release(ticket, 0.25))

    def tell(self, verdicts):
        for verdict in verdicts:
            self._watchers.pop(verdict.ticket)(verdict.outcome)


__all__ = ["Admitted", "FakeModels", "FakeSeats", "PlainEngine", "PlainTranslation"]
