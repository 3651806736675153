"""`lab models pull`: the files of models on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lab.commands.client import open_client
from lab.commands.printing import notes
from lab.errors import InputError
from lab.pipelines.fetching import Download, plan_download
from lab.schemas.model import Model
from lab.schemas.model_card import ModelCard
from lab.units import sized

STOPPED = 130
"""Exit code of what Ctrl-C ended."""

app = typer.Typer(add_completion=False)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="As `lab models list` shows it.")],
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit; by default the pinned one, else the newest."),
    ] = None,
) -> None:
    """
    Fetch the files of a Hugging Face model to this machine, and pin the commit that they are of.

    Ctrl-C stops; the same command goes on where it stopped. Run it on the lab's machine, as the
    account that runs the lab. For administrators.

    Examples: `lab models pull Qwen/Qwen3-0.6B` · `lab models pull mine --revision main`
    """
    card = asyncio.run(_card(name))
    if card.hub_id is None:
        raise InputError(f"`{card.model}` comes from a folder; there is nothing to fetch.")
    model = Model(
        id=card.model, task=card.task, source=card.hub_id, revision=revision or card.revision
    )
    download = plan_download(model)
    try:
        folder = _fetched(download)
    except KeyboardInterrupt:
        notes.print("Stopped; the same command goes on from here.")
        raise typer.Exit(STOPPED) from None
    card = asyncio.run(_pin(download.model))
    notes.print(f"`{card.model}` is here, pinned to {card.revision}: {folder}.", soft_wrap=True)


def _fetched(download: Download) -> Path:
    """Fetch what is missing under a progress bar."""
    total = sum(blob.size for blob in download.blobs)
    notes.print(f"{sized(download.n_bytes)} in all, {sized(download.n_here)} of it here already.")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=notes,
    )
    with bar:
        task = bar.add_task("Fetching", total=total, completed=download.n_here)
        return download.fetch(lambda n_bytes: bar.advance(task, n_bytes))


async def _card(name: str) -> ModelCard:
    async with open_client() as lab:
        return await lab.catalog.get(name)


async def _pin(model: Model) -> ModelCard:
    async with open_client() as lab:
        return await lab.catalog.pin(model.id, str(model.revision))
