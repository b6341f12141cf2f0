"""All that routing needs beside a request and a snapshot: strategy, policy of tenants, memory."""

from dataclasses import dataclass, field

from helexa.cortex.orchestrator.filters import FILTERS, Filter, TenantPolicy, tenant_filter
from helexa.cortex.orchestrator.prefix import Realms
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.cortex.orchestrator.strategies import LeastSeconds, RoutingPolicy, Strategy
from helexa.protocol.inference import Trailer
from helexa.protocol.workload import WorkloadClass


@dataclass(frozen=True, slots=True)
class Router:
    """One gateway's way of routing. Routing reads it; it changes only by `sent` and `ended`."""

    strategy: Strategy = field(default_factory=lambda: LeastSeconds(RoutingPolicy()))
    strategy_name: str = "default"
    may_use: TenantPolicy | None = None
    """None: everybody may use everything."""
    memory: RoutingMemory = field(default_factory=RoutingMemory)
    realms: Realms = field(default_factory=Realms)
    """Whose prompts may be told from whose."""
    shown: bool = False
    """Callers are told where their request went (`x-helexa-route`)."""

    def filters(self) -> tuple[Filter, ...]:
        """Return all filters in their order."""
        return FILTERS if self.may_use is None else (tenant_filter(self.may_use), *FILTERS)

    def has_choice(
        self, model: str | None, workload_class: WorkloadClass, snapshot: FleetSnapshot
    ) -> bool:
        """Tell whether a request's session and prefix could matter."""
        if not self.strategy.needs_affinity:
            return False
        name = model if model is not None else snapshot.default_models.get(workload_class)
        if name is None:
            return False
        view = snapshot.models.get(name) or snapshot.models.get(snapshot.names.get(name, ""))
        return view is not None and len(view.replicas) > 1

    def sent(self, request: RoutingRequest, decision: RoutingDecision) -> None:
        """Note that a request is on its way where it was decided to go."""
        if request.prompt_bytes or request.prefix:
            self.memory.sent(request, decision.replica)
        self.strategy.sent(request, decision.replica)

    def ended(
        self, request: RoutingRequest, decision: RoutingDecision, trailer: Trailer | None
    ) -> None:
        """Note the end of a request that was noted as sent; `trailer` only where it went well."""
        self.memory.ended(request, decision, trailer)
