"""One remembered request as JSON: its way through time, and why it went where it went. Pure."""

from typing import Any

from helexa.cortex.gateway.decisions import Decided, Decision
from helexa.cortex.gateway.metering import Record
from helexa.cortex.observe.views import explanation
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import PLAIN
from helexa.protocol.errors import Refusal

Json = dict[str, Any]
SNAPSHOT_GONE = "the fleet as it was then is kept no more"


def request_json(request_id: str, found: Decided, router: Router = PLAIN) -> Json:
    """Return all that is remembered of a request; times are milliseconds since it was received."""
    record = found.record
    received_s = _received_s(found)
    asked = found.decisions[0].request if found.decisions else None
    body: Json = {
        "request_id": request_id,
        "state": "running" if record is None else "ended",
        "operation": record.operation if record is not None else asked and asked.operation,
        "workload_class": asked.workload_class.value if asked is not None else None,
        "asked_model": asked.model if asked is not None else None,
        "timeline": _timeline(found, received_s),
        "decisions": [_decision(each, received_s, router) for each in found.decisions],
    }
    return body | _ending(record)


def _received_s(found: Decided) -> float:
    """Return when the request was whole, on the clock of `found`."""
    times = [decision.at_s for decision in found.decisions[:1]]
    if found.record is not None:
        # The end is noted a little after it was timed; no decision is earlier than its request.
        times.append(found.ended_s - found.record.duration_ms / 1e3)
    return min(times)


def _ending(record: Record | None) -> Json:
    if record is None:
        return {}
    trailer = record.trailer
    usage = trailer.usage if trailer is not None else None
    return {
        "model": record.model or None,
        "neuron": record.neuron or None,
        "key_id": record.key_id or None,
        "stream": record.stream,
        "outcome": record.outcome.value,
        "status": record.status,
        "code": record.code or None,
        "attempts": record.attempts,
        "bytes_out": record.bytes_out,
        "prompt_tokens": usage.prompt_tokens if usage is not None else None,
        "completion_tokens": usage.completion_tokens if usage is not None else None,
        "on_the_neuron": None
        if trailer is None
        else {
            "queued_ms": round(trailer.queued_ms, 2),
            "first_token_ms": _rounded(trailer.first_token_ms),
            "duration_ms": round(trailer.duration_ms, 2),
        },
    }


def _timeline(found: Decided, received_s: float) -> list[Json]:
    steps: list[Json] = [{"at_ms": 0.0, "event": "received", "detail": ""}]
    for decision in found.decisions:
        at_ms = round((decision.at_s - received_s) * 1e3, 2)
        outcome = decision.outcome
        if isinstance(outcome, Refusal):
            last = decision is found.decisions[-1] and found.record is not None
            event = "refused" if last else "held"
            steps.append({"at_ms": at_ms, "event": event, "detail": outcome.because})
        else:
            steps.append({"at_ms": at_ms, "event": "sent", "detail": outcome.neuron_id})
    record = found.record
    if record is not None:
        if record.first_byte_ms is not None:
            first_ms = round(record.first_byte_ms, 2)
            steps.append({"at_ms": first_ms, "event": "first byte", "detail": ""})
        told = f"{record.outcome.value}, {record.status} {record.code}".strip()
        end_ms = round(record.duration_ms, 2)
        steps.append({"at_ms": end_ms, "event": "end", "detail": told})
    return steps


def _decision(decision: Decision, received_s: float, router: Router) -> Json:
    """Return one decision with its reasons, as far as they can still be worked out."""
    found = decision.explanation(router)
    outcome = decision.outcome
    body: Json
    if found is None:
        body = {"because": SNAPSHOT_GONE, "candidates": None}
    else:
        body = explanation(found, None)
    # What was decided is remembered by itself: it is the truth, the reasons are worked out again.
    if isinstance(outcome, Refusal):
        body |= {"chosen": None, "because": outcome.because, "code": outcome.code.value}
    else:
        body |= {"chosen": outcome.neuron_id, "model": outcome.model_id, "code": None}
    return {
        "at_ms": round((decision.at_s - received_s) * 1e3, 2),
        "eligible": decision.eligible,
        "in_flight_known": decision.counts is not None,
        **body,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
