"""A listener that writes down what it is told, and waiting for a condition with a deadline."""

import asyncio
from collections.abc import Callable, Mapping


class ExchangeLog:
    """Remembers the calls of one exchange; asserts that they come in a legal order."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.over = False
        self.whole = False
        """All of it was told in one call."""

    def on_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.whole = True
        self.on_head(status, headers)
        if body:
            self.on_data(body)
        self.on_end(complete=True)

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self.calls
        self.calls.append(("head", status, dict(headers)))

    def on_data(self, data: bytes) -> None:
        assert self.calls
        assert not self.over
        self.calls.append(("data", data))

    def on_end(self, *, complete: bool) -> None:
        assert not self.over
        self.over = True
        self.calls.append(("end", complete))

    def on_error(self, kind: str, message: str) -> None:
        assert not self.over
        assert message
        self.over = True
        self.calls.append(("error", str(kind)))

    @property
    def body(self) -> bytes:
        return b"".join(call[1] for call in self.calls if call[0] == "data")  # type: ignore[misc]

    async def ended(self) -> "ExchangeLog":
        await until(lambda: self.over, "the exchange to end")
        return self


async def until(
    condition: Callable[[], object], what: str = "a condition", limit_s: float = 10.0
) -> None:
    """Poll until `condition()` is true; fails after `limit_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while not condition():
        assert loop.time() < deadline, f"waited {limit_s:g} s for {what}"
        await asyncio.sleep(0.002)
