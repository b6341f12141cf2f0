"""What the echo engine says: a function of request id and token number, and nothing else. Pure.

A test that knows the id of a request knows every byte of its answer, so loss, doubling, mixing up
and tearing of any kind show.
"""

import hashlib
import math
from itertools import count
from typing import Final

DIMENSIONS: Final = 384
_EVERY_FIFTH: Final = "é"
_EVERY_SEVENTH: Final = "🙂"


def tag_of(request_id: str) -> str:
    """Return the eight characters that mark all tokens of one request."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:8]


def token_text(tag: str, number: int) -> str:
    """Return token `number` (from 0); some have characters of two and four bytes."""
    mark = _EVERY_SEVENTH if number % 7 == 6 else _EVERY_FIFTH if number % 5 == 4 else ""
    return f"{tag}.{number}{mark} "


def expected_text(request_id: str, tokens: int) -> str:
    """Return the whole answer to a request that is given `tokens` tokens."""
    tag = tag_of(request_id)
    return "".join(token_text(tag, number) for number in range(tokens))


def pieces(request_id: str, tokens: int, prefix: str = "") -> list[str]:
    """Return an answer token by token; one that continues `prefix` leaves out what that has.

    A token that the prefix has a part of counts as said: its rest comes with the next one. A
    prefix that is not the beginning of this request's answer is continued from token 0.
    """
    tag = tag_of(request_id)
    number, rest = _continued_at(tag, prefix)
    answer = [token_text(tag, each) for each in range(number, number + tokens)]
    if rest and answer:
        answer[0] = rest + answer[0]
    return answer


def tokens_said(request_id: str, prefix: str) -> int:
    """Return how many tokens of its answer a prefix has, a part of one among them."""
    return _continued_at(tag_of(request_id), prefix)[0]


def _continued_at(tag: str, prefix: str) -> tuple[int, str]:
    """Return the number of the next token, and what is left to say of the one before."""
    said = 0
    for number in count():
        text = token_text(tag, number)
        part = prefix[said : said + len(text)]
        if not part or not text.startswith(part):
            break
        said += len(part)
        if len(part) < len(text):
            return number + 1, text[len(part) :]
    return (number, "") if said == len(prefix) else (0, "")


def vector_of(text: str) -> list[float]:
    """Return the text's vector: DIMENSIONS numbers of length 1, the same every time."""
    digest = hashlib.shake_256(text.encode()).digest(DIMENSIONS * 2)
    numbers = [
        int.from_bytes(digest[at : at + 2], "little", signed=True)
        for at in range(0, len(digest), 2)
    ]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]
