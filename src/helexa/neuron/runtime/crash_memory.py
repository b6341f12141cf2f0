"""Which requests were at work when an engine died: a query of death is blocked, not the fleet.

A request, or one with the very same body, that was in the engine in two different crashes is
refused for a while. One crash blames all that were in flight, so a second one is needed: of many
that died together by chance, only the guilty one is there again. Bounded; `now` is an argument.
"""

import hashlib
from collections import OrderedDict
from typing import Final

CRASHES_MAX: Final = 2
BLOCK_S: Final = 60.0
ENTRIES_MAX: Final = 4096


class CrashMemory:
    """Counts crashes by request id and by body."""

    def __init__(self, block_s: float = BLOCK_S, entries_max: int = ENTRIES_MAX) -> None:
        self._block_s = block_s
        self._entries_max = entries_max
        self._entries: OrderedDict[str, tuple[frozenset[str], float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def crashed(
        self, request_id: str, model_id: str, body: bytes, worker_id: str, now: float
    ) -> bool:
        """A request was in the engine process `worker_id` as it died; True if it is blocked now."""
        blocked = False
        for key in (f"id:{request_id}", _body_key(model_id, body)):
            workers, _ = self._entries.pop(key, (frozenset[str](), now))
            workers |= {worker_id}
            self._entries[key] = (workers, now)
            blocked = blocked or len(workers) >= CRASHES_MAX
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
        return blocked

    def is_blocked(self, request_id: str, model_id: str, body: bytes, now: float) -> bool:
        """Tell whether a request must not reach an engine. Costs a hash only after a crash."""
        if not self._entries:
            return False
        self._forget(now)
        return any(
            len(self._entries.get(key, (frozenset(), now))[0]) >= CRASHES_MAX
            for key in (f"id:{request_id}", _body_key(model_id, body))
        )

    def _forget(self, now: float) -> None:
        while self._entries:
            key, (_, at) = next(iter(self._entries.items()))
            if now - at < self._block_s:
                break
            del self._entries[key]


def _body_key(model_id: str, body: bytes) -> str:
    digest = hashlib.blake2b(body, digest_size=16, key=model_id.encode()[:64])
    return f"body:{digest.hexdigest()}"
