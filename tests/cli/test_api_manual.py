"""The page about types and interfaces names them all."""

import ast
from pathlib import Path

from helexa.cli.api_manual import api_page

SOURCE = Path(__file__).parents[2] / "src" / "helexa"


def test_every_public_type_and_interface_is_on_the_page_with_its_docstring() -> None:
    """R0.39: protocol types and runtime interfaces appear in generated API docs."""
    page = api_page()
    for path in [*(SOURCE / "protocol").rglob("*.py"), SOURCE / "model_runtime" / "interfaces.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                said = (ast.get_docstring(node) or "").partition("\n")[0]
                assert said
                assert f"### `{node.name}`\n\n{said}" in page


def test_methods_and_fields_are_told() -> None:
    page = api_page()
    assert "- `async chat(self, request: ChatRequest) -> ChatResponse`: Return the whole" in page
    assert "- `engine: str`" in page
    assert "### `negotiate(peer_min: int, peer_max: int) -> int | None`" in page
