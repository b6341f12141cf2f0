"""What routing is asked of a request, and what its caller may be told of the answer. Pure."""

from typing import TYPE_CHECKING

from helexa.cortex.gateway.affinity import PROMPT_BYTES_MIN, prefix_of, session_of
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.snapshot import FleetSnapshot

if TYPE_CHECKING:
    from helexa.cortex.gateway.relay import Relay


def asked_of(relay: "Relay", snapshot: FleetSnapshot, router: Router) -> RoutingRequest:
    """Return what routing must know; session and prompt are looked at only where they matter."""
    head, exchange = relay.head, relay.exchange
    session = ""
    prefix: tuple[int, ...] = ()
    prompt_bytes = 0
    if router.has_choice(head.model, relay.workload_class, snapshot):
        body = exchange.body
        session = session_of(exchange.headers, head.session)
        realm = router.realms.of(relay.principal.owner)
        prefix = prefix_of(head.operation, head.model, body, realm)
        prompt_bytes = len(body) if len(body) >= PROMPT_BYTES_MIN else 0
    return RoutingRequest(
        exchange.request_id,
        head.operation,
        relay.workload_class,
        head.model,
        relay.excluded,
        head.prompt_tokens_min,
        head.tools,
        head.json_schema,
        relay.principal.key_id,
        session,
        prefix,
        prompt_bytes,
    )


def route_line(decision: RoutingDecision) -> bytes:
    """Return the header line that tells a caller where its request went, and why."""
    neuron_id = decision.replica.neuron_id
    told = f"x-helexa-route: {neuron_id};reason={decision.reason};eligible={decision.eligible}\r\n"
    return told.encode()
