"""What a request has in common with earlier ones: its session, and the beginning of its prompt.

Asked only where more than one replica could take a request. Pure.
"""

from collections.abc import Mapping
from typing import Final

from helexa.cortex.orchestrator.prefix import CUTS, EVERYBODY, Realm, blocks_of
from helexa.protocol.workload import Operation

SESSION_HEADERS: Final = (
    b"x-session-id",
    b"x-claude-code-session-id",
    b"session-id",
    b"session_id",
    b"x-conversation-id",
    b"conversation_id",
)
"""What clients send, of their own accord or by their configuration; the first one counts."""
SESSION_CHARS_MAX: Final = 256
PROMPT_BYTES_MIN: Final = CUTS[0]
"""A smaller body has no whole block."""
_FIELDS: Final = {
    Operation.CHAT: b'"messages"',
    Operation.COMPLETION: b'"prompt"',
    Operation.MESSAGES: b'"messages"',
    Operation.RESPONSES: b'"input"',
}


def session_of(headers: Mapping[bytes, bytes], told: str = "") -> str:
    """Return what a request's session is called, by its headers, else by its body (`told`)."""
    for name in SESSION_HEADERS:
        value = headers.get(name)
        if value:
            return value[:SESSION_CHARS_MAX].decode("latin-1")
    return told[:SESSION_CHARS_MAX]


def prefix_of(
    operation: Operation, model: str | None, body: bytes, realm: Realm = EVERYBODY
) -> tuple[int, ...]:
    """Return the block hashes of a prompt as it stands in the body: from its field on.

    The same conversation is written in the same bytes by the same client, and its next request
    only adds to them. What stands before the field, such as a temperature, does not matter.
    """
    field = _FIELDS.get(operation)
    if field is None or len(body) < PROMPT_BYTES_MIN:
        return ()
    begin = body.find(field)
    if begin < 0:
        return ()
    text = memoryview(body)[begin : begin + CUTS[-1]]
    return blocks_of(text, (model or "").encode(), realm)
