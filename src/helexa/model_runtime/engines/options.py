"""Checks a model's options against what its engine declares. Pure.

This is a gate of the neuron's security: an option becomes an argument of a process, so whatever is
not declared, typed and bounded is refused, and no text may look like another argument.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

from helexa.model_runtime.interfaces import OptionSpec
from helexa.protocol.model import ModelConfig, OptionValue

TEXT_CHARS_MAX: Final = 512
_KIND_NAMES: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
}


def option_problems(specs: Iterable[OptionSpec], options: Mapping[str, OptionValue]) -> list[str]:
    """Return one sentence for each option that is unknown or not allowed, in the order given."""
    by_name = {spec.name: spec for spec in specs}
    problems = []
    for name, value in options.items():
        spec = by_name.get(name)
        problem = _unknown(name, by_name) if spec is None else _value_problem(spec, value)
        if problem:
            problems.append(problem)
    return problems


def option_values(
    specs: Iterable[OptionSpec], options: Mapping[str, OptionValue]
) -> dict[str, OptionValue | None]:
    """Return every declared option with its value, its default, or None.

    Raises ValueError with all problems if an option is not allowed.
    """
    specs = tuple(specs)
    problems = option_problems(specs, options)
    if problems:
        raise ValueError("; ".join(problems))
    return {spec.name: options.get(spec.name, spec.default) for spec in specs}


class Options:
    """The checked options of one config, read by type.

    Raises ValueError on construction if an option is not allowed.
    """

    __slots__ = ("_values",)

    def __init__(self, specs: Iterable[OptionSpec], config: ModelConfig) -> None:
        self._values = option_values(specs, config.options)

    def integer(self, name: str) -> int | None:
        """Return a whole number, or None where it is neither set nor has a default."""
        value = self._values[name]
        return None if value is None else int(value)

    def number(self, name: str) -> float | None:
        """Return a number, or None where it is neither set nor has a default."""
        value = self._values[name]
        return None if value is None else float(value)

    def text(self, name: str) -> str | None:
        """Return a text, or None where it is neither set nor has a default."""
        value = self._values[name]
        return None if value is None else str(value)

    def value(self, name: str) -> OptionValue | None:
        """Return a value as it is, or None where it is neither set nor has a default."""
        return self._values[name]

    def flag(self, name: str) -> bool:
        """Tell whether a switch is on."""
        return self._values[name] is True

    def known_flag(self, name: str) -> bool | None:
        """Tell whether a switch is on, or None where it is neither set nor has a default."""
        value = self._values[name]
        return None if value is None else value is True


def _unknown(name: str, known: Mapping[str, OptionSpec]) -> str:
    shown = name[:64]
    close = difflib.get_close_matches(shown, known, n=1)
    if close:
        return f"option {shown!r} is unknown; did you mean {close[0]!r}?"
    return f"option {shown!r} is unknown; allowed: {', '.join(sorted(known)) or 'none'}"


def _value_problem(spec: OptionSpec, value: OptionValue) -> str:
    if not _has_kind(spec.kind, value):
        return f"option {spec.name!r} is {_shown(value)}; it must be {_KIND_NAMES[spec.kind]}"
    if isinstance(value, str):
        return _text_problem(spec, value)
    if isinstance(value, bool):
        return ""
    # `not (a <= b)` rather than `a > b`: a NaN is out of every range.
    below = spec.minimum is not None and not value >= spec.minimum
    above = spec.maximum is not None and not value <= spec.maximum
    if below or above or math.isnan(value):
        return f"option {spec.name!r} is {value}; allowed: {_range(spec)}"
    return ""


def _has_kind(kind: str, value: OptionValue) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "int":
        return isinstance(value, int)
    if kind == "float":
        return isinstance(value, int | float)
    return isinstance(value, str)


def _text_problem(spec: OptionSpec, value: str) -> str:
    where = f"option {spec.name!r} is {_shown(value)}"
    if len(value) > TEXT_CHARS_MAX:
        return f"{where}; it has {len(value)} characters, at most {TEXT_CHARS_MAX} are allowed"
    if value.startswith("-"):
        return f"{where}; a value must not start with '-'"
    if not value.isprintable():
        return f"{where}; it must not contain control characters"
    if spec.choices and value not in spec.choices:
        close = difflib.get_close_matches(value, spec.choices, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{where}; allowed: {', '.join(spec.choices)}{hint}"
    if spec.pattern and re.fullmatch(spec.pattern, value) is None:
        return f"{where}; it must match {spec.pattern}"
    return ""


def _range(spec: OptionSpec) -> str:
    def told(bound: float | None) -> str:
        return "" if bound is None else f"{bound:g}" if bound < 1e6 else f"{int(bound)}"

    if spec.minimum is None and spec.maximum is None:
        return "a finite number"
    if spec.maximum is None:
        return f"at least {told(spec.minimum)}"
    if spec.minimum is None:
        return f"at most {told(spec.maximum)}"
    return f"{told(spec.minimum)} to {told(spec.maximum)}"


def _shown(value: OptionValue) -> str:
    text = repr(value)
    return text if len(text) <= 64 else text[:61] + "..."
