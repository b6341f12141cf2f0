"""Whether a model fits, in words with numbers. Pure."""

from typing import Final

GIB: Final = 1 << 30


def gib(size_bytes: int) -> str:
    """Return a size in GiB, with as many digits as a person needs."""
    value = size_bytes / GIB
    return f"{value:.1f}" if value >= 1 or size_bytes <= 0 else f"{value:.2g}"


def shortage(needed_bytes: int | None, free_bytes: int, budget_bytes: int) -> str | None:
    """Say why a model does not fit, or None where it does or where its need is unknown."""
    if needed_bytes is None or needed_bytes <= free_bytes:
        return None
    return f"needs {gib(needed_bytes)} GiB; {gib(max(0, free_bytes))} free of {gib(budget_bytes)}"
