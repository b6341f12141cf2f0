"""The generated page about the protocol's types and the runtime's interfaces, from their source."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import helexa

_HEAD = """# Types and interfaces

This page is written by `make docs` from the source; do not edit it by hand. It tells what crosses
the wire (`helexa.protocol`) and what a runtime or an engine has to offer
(`helexa.model_runtime.interfaces`).
"""


def api_page() -> str:
    """Return the page, module by module, in the order of their names."""
    root = Path(inspect.getfile(helexa)).parent
    paths = [*sorted((root / "protocol").rglob("*.py")), root / "model_runtime" / "interfaces.py"]
    return "\n".join([_HEAD, *(part for path in paths for part in _module(root, path))])


def _module(root: Path, path: Path) -> Iterator[str]:
    module = ast.parse(path.read_text())
    name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
    public = [node for node in module.body if _is_public(node)]
    if not public:
        return
    yield f"## `{name}`\n\n{(ast.get_docstring(module) or '').partition(chr(10))[0]}\n"
    for node in public:
        if isinstance(node, ast.ClassDef):
            yield from _class(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"### `{_signature(node)}`\n\n{ast.get_docstring(node) or ''}\n"


def _class(node: ast.ClassDef) -> Iterator[str]:
    yield f"### `{node.name}`\n\n{ast.get_docstring(node) or ''}\n"
    lines = [
        f"- `{ast.unparse(item)}`"
        for item in node.body
        if isinstance(item, ast.AnnAssign | ast.Assign) and not ast.unparse(item).startswith("_")
    ]
    lines += [
        f"- `{_signature(item)}`: {(ast.get_docstring(item) or '').partition(chr(10))[0]}"
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(item)
    ]
    if lines:
        yield "\n".join(lines) + "\n"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    result = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{prefix}{node.name}({ast.unparse(node.args)}){result}"


def _is_public(node: ast.stmt) -> bool:
    named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return named and not node.name.startswith("_")  # type: ignore[attr-defined]  # it is named
