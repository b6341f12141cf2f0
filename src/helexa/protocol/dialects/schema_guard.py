"""JSON schemas from callers: what an engine can turn into a grammar, and follow, in bounded time.

An engine compiles a schema before the first token and tries it on its vocabulary at each token, all
in the thread that serves every request. Measured with llama.cpp: an `enum` of 5,000 values takes
minutes, one of 250 about a second; an object of 1,000 optional properties 8 s. Pure.
"""

from collections.abc import Iterator
from typing import Any, Final

from helexa.protocol.dialects import pattern_guard

DEPTH_MAX: Final = 32
PROPERTIES_MAX: Final = 1000
STEPS_MAX: Final = 5000
"""Of a walk, with references written out: some 6 µs each. A long pattern is many steps."""
ALTERNATIVES_MAX: Final = 250
"""That may be open at one place: values of an enum, branches, optional properties of an object."""
RECURSION_WIDTH: Final = 64
"""Branches that a part counts as which leads back into itself, since they multiply with each level:
four that look alike took 1.3 s a token, eight more than 10 s."""
REPETITIONS_MAX: Final = 10_000
"""Of characters or items, those of all levels around them multiplied."""
_PATH_CHARS_MAX: Final = 200

_BRANCHES: Final = ("anyOf", "oneOf", "allOf")
_SINGLE: Final = ("additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_COUNTS: Final = (
    "maxLength",
    "minLength",
    "maxProperties",
    "minProperties",
    "maxItems",
    "minItems",
)


class _RefusedError(Exception):
    """A bound is passed; the text has the path and the limit."""


def judge(schema: object, path: str) -> tuple[str | None, int]:
    """Return which bound a schema passes, and where, or None; and how many steps that took."""
    walk = _Walk(schema)
    try:
        walk.width(schema, path, 0, 1)
    except _RefusedError as error:
        return str(error), walk.steps
    return None, walk.steps


def _refuse(path: str, said: str) -> _RefusedError:
    shown = path if len(path) <= _PATH_CHARS_MAX else path[:_PATH_CHARS_MAX] + "…"
    return _RefusedError(f"{shown}: {said}")


class _Walk:
    """One walk through a schema, with its references written out."""

    def __init__(self, root: object) -> None:
        self._root = root
        self.steps = 0
        self._properties = 0
        self._widths: dict[str, int] = {}

    def width(self, node: object, path: str, depth: int, times: int) -> int:
        """Return how many alternatives may be open at one place; raises _RefusedError.

        `times` is how often the node can be repeated by what is around it.
        """
        if not isinstance(node, dict):
            return 1
        if depth > DEPTH_MAX:
            raise _refuse(path, f"is nested deeper than {DEPTH_MAX} levels")
        self._step(path)
        inner = times
        for name in _COUNTS:
            count = node.get(name)
            if isinstance(count, int | float) and count > 1:
                if not times * count <= REPETITIONS_MAX:
                    raise _refuse(f"{path}.{name}", _too_often(count, times))
                if name.endswith("Items"):
                    inner = max(inner, times * int(count))
        width = max(
            1,
            _length(node.get("enum")),
            _length(node.get("type")),
            self._pattern(node.get("pattern"), f"{path}.pattern", times),
            self._object(node, path, depth, times),
            self._referred(node.get("$ref"), path, depth),
            *(self.width(child, at, depth + 1, times) for child, at in _singles(node, path)),
            *(self.width(child, at, depth + 1, inner) for child, at in _items(node, path)),
            *(self._choice(branches, depth, times) for branches in _branches(node, path)),
        )
        if width > ALTERNATIVES_MAX:
            said = f"has {width} alternatives; at most {ALTERNATIVES_MAX} are allowed"
            raise _refuse(path, said)
        return width

    def _step(self, path: str, count: int = 1) -> None:
        self.steps += count
        if self.steps > STEPS_MAX:
            raise _refuse(path, "up to here, the schema is too large; make it smaller")

    def _choice(self, branches: list[tuple[object, str]], depth: int, times: int) -> int:
        """Return the branches that stay open once a first character, or a tag, has chosen."""
        widths = [self.width(child, at, depth + 1, times) for child, at in branches]
        if _are_tagged([child for child, _ in branches]):
            return max(len(widths), *widths)
        open_ones: dict[object, int] = {}
        for (child, _), width in zip(branches, widths, strict=True):
            kind = _kind(child)
            open_ones[kind] = open_ones.get(kind, 0) + width
        unknown = open_ones.pop("", 0)
        return max(len(widths), unknown + max(open_ones.values(), default=0))

    def _object(self, node: dict[str, Any], path: str, depth: int, times: int) -> int:
        widest = 0
        for group in ("properties", "patternProperties"):
            members = node.get(group)
            if not isinstance(members, dict):
                continue
            self._properties += len(members)
            if self._properties > PROPERTIES_MAX:
                said = f"the schema has more than {PROPERTIES_MAX} properties"
                raise _refuse(f"{path}.{group}", said)
            required = node.get("required")
            needed = set(map(str, required)) if isinstance(required, list) else set()
            widest = max(widest, len(members.keys() - needed))
            for name, child in members.items():
                at = f"{path}.{group}.{name}"
                if group == "patternProperties":
                    widest = max(widest, self._pattern(name, at, times))
                widest = max(widest, self.width(child, at, depth + 1, times))
        return widest

    def _referred(self, pointer: object, path: str, depth: int) -> int:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            return 1
        if pointer not in self._widths:
            self._widths[pointer] = RECURSION_WIDTH
            target = _target(self._root, pointer)
            # It becomes a rule of its own, however often what is around it repeats.
            self._widths[pointer] = self.width(target, f"{path}.$ref({pointer})", depth + 1, 1)
        return self._widths[pointer]

    def _pattern(self, pattern: object, path: str, times: int) -> int:
        if not isinstance(pattern, str):
            return 1
        # Its check takes up to the square of its length.
        self._step(path, len(pattern) ** 2 // 200)
        try:
            size, ways = pattern_guard.measure(pattern)
        except pattern_guard.PatternError as error:
            raise _refuse(path, str(error)) from None
        if times * size > REPETITIONS_MAX:
            raise _refuse(path, _too_often(size, times))
        return ways


def _too_often(count: float, times: int) -> str:
    around = f" in something that repeats {times} times" if times > 1 else ""
    return (
        f"allows {count:.15g} repetitions{around}; at most {REPETITIONS_MAX} together are allowed"
    )


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 1


def _singles(node: dict[str, Any], path: str) -> Iterator[tuple[object, str]]:
    for name in _SINGLE:
        if name in node:
            yield node[name], f"{path}.{name}"


def _items(node: dict[str, Any], path: str) -> Iterator[tuple[object, str]]:
    for name in ("items", "prefixItems"):
        children = node.get(name)
        if isinstance(children, list):
            yield from ((child, f"{path}.{name}[{n}]") for n, child in enumerate(children))
        elif children is not None:
            yield children, f"{path}.{name}"


def _branches(node: dict[str, Any], path: str) -> Iterator[list[tuple[object, str]]]:
    for name in _BRANCHES:
        children = node.get(name)
        if isinstance(children, list) and children:
            yield [(child, f"{path}.{name}[{n}]") for n, child in enumerate(children)]


def _kind(node: object) -> str:
    """Return the JSON type that a branch begins like; "" where it says none."""
    kind = node.get("type") if isinstance(node, dict) else None
    if not isinstance(kind, str):
        return ""
    return "number" if kind == "integer" else kind


def _are_tagged(branches: list[object]) -> bool:
    """Tell whether all are objects whose first property is needed and has a value of its own."""
    tags = {_tag(branch) for branch in branches}
    return None not in tags and len(tags) == len(branches) and len({t[0] for t in tags if t}) == 1


def _tag(branch: object) -> tuple[str, str] | None:
    if not isinstance(branch, dict) or not isinstance(branch.get("properties"), dict):
        return None
    name, value = next(iter(branch["properties"].items()), ("", None))
    required = branch.get("required")
    tag = value.get("const") if isinstance(value, dict) else None
    needed = isinstance(required, list) and name in required
    return (name, tag) if needed and isinstance(tag, str) else None


def _target(root: object, pointer: str) -> object:
    """Return what a local reference names, or None."""
    found = root
    for step in pointer.removeprefix("#").removeprefix("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name) if name else found
        elif isinstance(found, list) and name.isdecimal() and len(name) < 6:
            found = found[int(name)] if int(name) < len(found) else None
        else:
            return None
    return found
