"""Every bound of the registry, in one place; the neuron's config fills it in."""

from dataclasses import dataclass, field

from helexa.util.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and times; all times in seconds."""

    memory_budget_bytes: int
    """What all models may use together."""
    models_max: int = 256
    """Configs that are remembered."""
    command_ids_max: int = 4096
    """Answers that are kept for commands that are sent again."""
    drain_s: float = 30.0
    """How long an unload waits for running requests, where it does not say so itself."""
    drain_s_max: float = 3600.0
    """How long an unload may say."""
    stop_grace_s: float = 10.0
    """From SIGTERM to SIGKILL."""
    check_interval_s: float = 15.0
    """Between health checks of a serving engine."""
    checks_missed_max: int = 3
    """Checks in a row that may fail before an engine is given up."""
    crashes_max: int = 5
    """Failed starts and crashes within `crash_window_s` that make a crash loop."""
    crash_window_s: float = 300.0
    crash_pause_s: float = 300.0
    """How long a crash loop rests before the next try."""
    stable_s: float = 300.0
    """Serving this long without a fault forgives earlier ones."""
    log_lines_max: int = 20
    """Last lines of a failed engine's output that are kept."""
    retry: Backoff = field(default_factory=lambda: Backoff(initial_s=1.0, ceiling_s=60.0))
    """Between one failure and the next try."""
