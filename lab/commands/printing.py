"""How commands print: results on standard output, everything else on standard error."""

import json
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.errors import cut
from lab.texts import visible

TEXT_WIDTH = 100
PIPE_WIDTH = 100_000
"""Characters of a row where no screen is too narrow for it."""

notes = Console(stderr=True, highlight=False)
"""For what is said beside the result."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table; only a `Text` has styles, as the rest may be anybody's words."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # an id that is cut is no id
    for row in rows:
        table.add_row(*(_shown(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def _shown(cell: object) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text("" if cell is None else visible(str(cell)))


def one_line(text: str) -> str:
    """
    Return a text on one line, cut where it is long.

    >>> one_line("Hi,   Bob."), len(one_line("a" * 500))
    ('Hi, Bob.', 100)
    """
    return cut(" ".join(text.split()), TEXT_WIDTH)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, default=str))
