"""The OpenAI-compatible front door: HTTP on one side, the fleet on the other."""
