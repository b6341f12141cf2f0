"""The agent on each box: starts engines, watches them, serves cortex."""
