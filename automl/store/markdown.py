"""Tables in Markdown, whatever their cells hold."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first row is its head.

    Whitespace in a cell is one space, and its bars are escaped: it ends neither its row nor itself.
    Raises ValueError without a head, or on rows of different lengths.
    Source: GitHub Flavored Markdown, section 4.10.
    """
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(
            f"a table needs a head and rows of its length, got lengths {[len(row) for row in rows]}"
        )
    head, *body = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *body]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
