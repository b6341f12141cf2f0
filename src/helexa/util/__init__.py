"""Small drawers that know nothing of inference: errors, clock, tasks, logging, metrics."""
