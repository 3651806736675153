"""`lab models`: what requests may name as `model`."""

import asyncio
from typing import Annotated

import typer

from lab.commands.client import open_client
from lab.commands.printing import print_json, print_table
from lab.schemas.model_card import ModelCard

app = typer.Typer(help="The models of this lab.", no_args_is_help=True, add_completion=False)


@app.callback()
def models() -> None:
    """The models of this lab."""  # noqa: D401 - what `lab --help` says of it


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    List what requests may name as `model`.

    Example: `lab models list`
    """
    cards = asyncio.run(_list())
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards])
        return
    print_table(
        ["name", "model", "task", "window", "in memory", "what it is"],
        [
            (c.id, c.model, c.task, c.context_length, "yes" if c.loaded else "no", c.description)
            for c in cards
        ],
    )


async def _list() -> list[ModelCard]:
    async with open_client() as lab:
        return await lab.models()
