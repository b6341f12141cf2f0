"""Columns of text, aligned; made for people and for `grep`, without lines and colours."""

from collections.abc import Sequence


def table_text(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows under their heads; columns are as wide as their widest cell."""
    lines = [list(heads), *[[clean(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def clean(text: str) -> str:
    """Keep what other machines say about themselves from steering the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
