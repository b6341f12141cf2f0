"""A listener that remembers what it was told."""


class Told:
    """Progress as (phase, done, total), in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int | None]] = []

    def __call__(self, phase: str, done_bytes: int, total_bytes: int | None) -> None:
        self.steps.append((phase, done_bytes, total_bytes))

    def phases(self) -> list[str]:
        """The phases in order, each once."""
        return list(dict.fromkeys(phase for phase, _, _ in self.steps))

    def last(self, phase: str) -> tuple[int, int | None]:
        return [(done, total) for name, done, total in self.steps if name == phase][-1]
