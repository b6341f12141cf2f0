"""The shell around the orchestrator: neurons' connections, and the one loop that decides."""
