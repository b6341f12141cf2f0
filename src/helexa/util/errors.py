"""The one base of every error that helexa raises on purpose, and how an error is told.

    HelexaError                  something a person or a program can act on
    ├── UsageError      (2)      the command line was wrong
    ├── NotFoundError   (3)      a named thing does not exist
    ├── AuthError       (4)      a key or token is missing or wrong
    ├── UnreachableError(5)      the other side does not answer
    ├── LimitError      (6)      a quota, limit or conflict stands in the way
    ├── TimedOutError   (7)      waited as long as was allowed
    ├── UnhealthyError  (8)      a check found something broken
    ├── PeerError       (1)      the other side broke the protocol: its fault, not ours
    ├── SourceError     (1)      weights could not be had, or are not what they should be
    └── ConfigError     (78)     settings are wrong (EX_CONFIG of sysexits.h)

The number is the exit status of the command line. Refusals that a request can expect are not
errors: they are values (`protocol.errors.Refusal`).
"""

from collections.abc import Iterator


class HelexaError(Exception):
    """A failure with an id, a sentence, and what to do next.

    `error_id` is stable (`HX-0412`), `hint` is one line that can be followed as it stands.
    """

    exit_status = 1

    def __init__(self, message: str, *, error_id: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.error_id = error_id
        self.hint = hint


class UsageError(HelexaError):
    """The command line was wrong."""

    exit_status = 2


class NotFoundError(HelexaError):
    """A named thing does not exist."""

    exit_status = 3


class AuthError(HelexaError):
    """A key or token is missing or wrong."""

    exit_status = 4


class UnreachableError(HelexaError):
    """The other side does not answer."""

    exit_status = 5


class LimitError(HelexaError):
    """A quota, a limit or a conflict stands in the way."""

    exit_status = 6


class TimedOutError(HelexaError):
    """Waited as long as was allowed."""

    exit_status = 7


class UnhealthyError(HelexaError):
    """A check found something broken."""

    exit_status = 8


class PeerError(HelexaError):
    """The other side broke the protocol."""


class SourceError(HelexaError):
    """Weights could not be had, or are not what they should be."""


class ConfigError(HelexaError):
    """Settings are wrong; nothing was started."""

    exit_status = 78


def cause_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all it came from, outermost first, each once.

    Follows `raise … from …` and errors raised while another was handled, unless suppressed.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def describe(error: BaseException) -> str:
    """Tell an error in one line with its whole cause chain, outermost first.

    `ConfigError: cannot read a.toml: PermissionError: [Errno 13] …`. An error without a text is
    told by its class alone, so that nothing is ever blank.
    """
    parts: list[str] = []
    for link in cause_chain(error):
        text = str(link)
        name = type(link).__name__
        part = f"{name}: {text}" if text else name
        if not parts or not parts[-1].endswith(part):
            parts.append(part)
    return " <- ".join(parts)


def with_context(error: BaseException, context: str) -> BaseException:
    """Attach one sentence about what was being done; it is printed with the error (PEP 678)."""
    error.add_note(context)
    return error
