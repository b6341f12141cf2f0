"""helexa: a few machines, one AI inference service."""

__version__ = "0.1.0"
