"""The control plane and the front door."""
