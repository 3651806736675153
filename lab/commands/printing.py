"""How commands print: results on standard output, everything else on standard error."""

import json
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table

notes = Console(stderr=True, highlight=False)
"""For what is said beside the result."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    # A terminal may be narrow; a pipe gets every row whole.
    console = Console(highlight=False)
    console.print(table, soft_wrap=not console.is_terminal)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, default=str))
