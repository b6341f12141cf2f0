"""What a request says about the form of its answer: a JSON schema, tools, a grammar. Pure.

Schemas are bounded before an engine compiles them (see `schema_guard`). Grammars and engines' own
ways to say one are refused: a grammar of thirty characters can hold an engine up for good, and no
bound on its size or its numbers tells which one will.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from helexa.protocol.dialects import schema_guard
from helexa.protocol.errors import ErrorCode, Refusal

ABSENT: Final = Raw(b"null")
"""Stands for a field that is not there; compared by identity, since most requests have none."""
SCHEMA_BYTES_MAX: Final = 64 * 1024
STEPS_MAX: Final = 4 * schema_guard.STEPS_MAX
"""Of the checks of all tools of a request: a tenth of a second."""
_FORMATS: Final = ("text", "json_object", "json_schema")
_REFUSED: Final = (
    "grammar", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "structured_outputs", "structural_tag",
)  # fmt: skip
_given: Final = attrgetter(*_REFUSED)
_NONE_GIVEN: Final = (ABSENT,) * len(_REFUSED)
_NOTHING: Final = frozenset({b"null", b'""', b"{}", b"[]"})
_KEPT_BYTES_MAX: Final = 8 * 1024
_ROOT: Final = "parameters"
_FUNCTION: Final = "function"


class Structured(Protocol):
    """A request body, as far as it says how its answer must look."""

    response_format: dict[str, Raw] | None
    json_schema: Raw


def problem_of(
    body: Structured,
    tools: Sequence[Mapping[str, Raw]] | None = None,
    functions: Sequence[Mapping[str, Raw]] | None = None,
) -> Refusal | None:
    """Return the refusal of what no engine should be made to compile, or None."""
    given = _given(body)
    if given != _NONE_GIVEN:
        for name, value in zip(_REFUSED, given, strict=True):
            if bytes(value) not in _NOTHING:
                return _refuse(name, f"{name}: grammars are not accepted; use a JSON schema")
    if body.response_format is not None and (problem := _format_problem(body.response_format)):
        return _refuse("response_format", problem)
    own = body.json_schema
    if own is not ABSENT and bytes(own) not in _NOTHING:
        problem = _schema_problem(own, "json_schema")
        if problem is not None:
            return _refuse("json_schema", problem)
    if tools and (problem := tools_problem("tools", tools, _FUNCTION)):
        return _refuse("tools", problem)
    if functions and (problem := tools_problem("functions", functions, _ROOT)):
        return _refuse("functions", problem)
    return None


def asks_for_json(response_format: Mapping[str, Raw]) -> bool:
    """Tell whether the answer must be JSON."""
    kind = response_format.get("type")
    return kind is not None and msgspec.json.decode(kind) in _FORMATS[1:]


def _refuse(param: str, problem: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, param=param)


def _format_problem(response_format: Mapping[str, Raw]) -> str | None:
    kind = msgspec.json.decode(response_format.get("type", b"null"))
    if kind is not None and kind not in _FORMATS:
        return f"response_format.type: {str(kind)[:64]!r} is none of {', '.join(_FORMATS)}"
    if sum(map(len, map(bytes, response_format.values()))) > SCHEMA_BYTES_MAX:
        return f"response_format: the schema has more than {SCHEMA_BYTES_MAX} bytes"
    named = response_format.get("json_schema")
    inner = msgspec.json.decode(named) if named is not None else None
    if isinstance(inner, dict):
        path = "response_format.json_schema.schema"
        problem, _ = schema_guard.judge(inner.get("schema"), path)
        if problem is not None:
            return problem
    own = response_format.get("schema")  # llama.cpp takes it beside "json_object"
    return _schema_problem(own, "response_format.schema") if own is not None else None


def _schema_problem(schema: bytes | Raw, path: str) -> str | None:
    if len(bytes(schema)) > SCHEMA_BYTES_MAX:
        return f"{path}: the schema has more than {SCHEMA_BYTES_MAX} bytes"
    found = msgspec.json.decode(schema)
    # llama.cpp takes it as a text, too.
    if isinstance(found, str):
        try:
            found = msgspec.json.decode(found)
        except (msgspec.DecodeError, RecursionError):
            return f"{path}: a text that is not JSON"
    problem, _ = schema_guard.judge(found, path)
    return problem


def tools_problem(name: str, tools: Sequence[Mapping[str, Raw]], inside: str) -> str | None:
    """Say what is wrong with the schemas of tools, or None.

    `inside` is the tools' field with the schema, or "function", whose `parameters` it is.
    """
    total = 0
    for number, tool in enumerate(tools):
        path = f"{name}[{number}].{inside}"
        given = tool.get(inside)
        if given is None:
            continue
        raw = bytes(given)
        # Agents send the same tools with every turn.
        look = _parameters_problem if len(raw) <= _KEPT_BYTES_MAX else _parameters_problem_anew
        is_function = inside == _FUNCTION
        problem, steps = look(raw, is_function)
        total += steps
        if problem is not None:
            return f"{path}.{problem}" if is_function else f"{path}{problem.removeprefix(_ROOT)}"
        if total > STEPS_MAX:
            return f"{path}: up to here, the schemas of all {name} are too large together"
    return None


def _parameters_problem_anew(raw: bytes, is_function: bool) -> tuple[str | None, int]:  # noqa: FBT001
    if len(raw) > SCHEMA_BYTES_MAX:
        return f"{_ROOT}: the schema has more than {SCHEMA_BYTES_MAX} bytes", 1
    found = msgspec.json.decode(raw)
    if is_function:
        found = found.get(_ROOT) if isinstance(found, dict) else None
    return schema_guard.judge(found, _ROOT)


_parameters_problem: Final = lru_cache(maxsize=512)(_parameters_problem_anew)
