"""Runs models: the supervisor of engines, and the executor of requests. No decisions of cortex."""
