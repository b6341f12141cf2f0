"""Errors are told with all they came from."""

from helexa.util import errors
from helexa.util.errors import ConfigError, HelexaError, describe, with_context


def test_the_whole_cause_chain_is_told_outermost_first() -> None:
    """R0.9: one error base, and a chain that is never flattened."""
    try:
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as low:
            raise ConfigError("cannot read a.toml", error_id="HX-0001") from low
    except ConfigError as error:
        told = describe(error)
    assert told.startswith("ConfigError: cannot read a.toml <- PermissionError: ")
    assert "Permission denied" in told


def test_an_error_raised_while_another_was_handled_is_told_unless_suppressed() -> None:
    try:
        try:
            raise KeyError("k")
        except KeyError:
            raise ValueError("v")  # noqa: B904  the implicit chain is what is tested
    except ValueError as error:
        assert describe(error) == "ValueError: v <- KeyError: 'k'"
    try:
        try:
            raise KeyError("k")
        except KeyError:
            raise ValueError("v") from None
    except ValueError as error:
        assert describe(error) == "ValueError: v"


def test_an_error_without_text_and_a_loop_of_causes_are_told_too() -> None:
    first, second = TimeoutError(), OSError("x")
    first.__cause__, second.__cause__ = second, first
    assert describe(first) == "TimeoutError <- OSError: x"


def test_context_is_kept_with_the_error() -> None:
    """R0.9: a helper attaches context."""
    error = with_context(ValueError("v"), "while loading m")
    assert error.__notes__ == ["while loading m"]


def test_every_error_class_has_its_own_exit_status() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, HelexaError)
    ]
    statuses = {cls.__name__: cls.exit_status for cls in classes}
    assert statuses == {
        "HelexaError": 1, "UsageError": 2, "NotFoundError": 3, "AuthError": 4,
        "UnreachableError": 5, "LimitError": 6, "TimedOutError": 7, "UnhealthyError": 8,
        "PeerError": 1, "SourceError": 1, "ConfigError": 78,
    }  # fmt: skip
