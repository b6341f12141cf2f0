"""The page about engines."""

from helexa.cli.engine_manual import engine_manual
from helexa.model_runtime.engines.catalogue import ENGINES


def test_every_option_of_every_engine_is_on_the_page_with_its_default() -> None:
    page = engine_manual(ENGINES)
    for name, engine in ENGINES.items():
        _, _, rest = page.partition(f"\n## {name}\n")
        section = rest.partition("\n## ")[0]
        for option in engine.options:
            (row,) = [
                line for line in section.splitlines() if line.startswith(f"| `{option.name}`")
            ]
            assert row.count(" | ") == 3
            assert row.endswith(f"| {option.text} |")
            assert all(f"`{choice}`" in row for choice in option.choices)


def test_bounds_and_truth_are_written_as_toml_has_them() -> None:
    page = engine_manual(ENGINES)
    assert "| `chat` | bool | `true` |" in page
    assert "int, 1 to " in page
