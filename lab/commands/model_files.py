"""`lab models pull|merge-lora|quantize`: the files of models on this machine."""

import asyncio
import os
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
from lab.pipelines.llama_cpp.settings import file_of, is_gguf
from lab.schemas.chat_config import Dtype, Quantization
from lab.schemas.model import Model
from lab.schemas.model_card import ModelCard
from lab.schemas.task import Task
from lab.units import sized

STOPPED = 130
"""Exit code of what Ctrl-C ended."""

app = typer.Typer(add_completion=False)

Name = Annotated[str, typer.Argument(help="As `lab models list` shows it, or its folder.")]
Out = Annotated[Path, typer.Argument(help="The new folder; nothing may be there.")]


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
    commit = download.model.revision
    if card.task is Task.embedding:  # its revision is a setting: memories were embedded by it
        what = f"set LAB_EMBEDDING_MODEL={card.hub_id} and LAB_EMBEDDING_REVISION={commit}"
        notes.print(f"`{card.model}` is here: {folder}. To use it, {what}.", soft_wrap=True)
        return
    asyncio.run(_pin(download.model))
    notes.print(f"`{card.model}` is here, pinned to {commit}: {folder}.", soft_wrap=True)


@app.command("merge-lora")
def merge_lora(
    model: Name,
    adapter: Annotated[Path, typer.Argument(help="Folder of a LoRA adapter that peft saved.")],
    out: Out,
) -> None:
    """
    Write a model with a LoRA adapter merged into it to a new folder.

    Example: `lab models merge-lora Qwen/Qwen3-0.6B ./my-adapter ./my-model`
    """
    from lab.pipelines import converting  # noqa: PLC0415 - imports torch

    found = _model(model)
    with notes.status("") as status:
        converting.merge_lora(found, adapter, out, lambda step: status.update(f"{step} …"))
    _written(out)


@app.command()
def convert(
    model: Annotated[
        str, typer.Argument(help="As `lab models list` shows it, a folder, or a file in GGUF.")
    ],
    out: Out,
    dtype: Annotated[
        Dtype, typer.Option(help="Of its weights; `auto` = as they are, float32 of GGUF.")
    ] = Dtype.auto,
) -> None:
    """
    Write a model in another number format, or made of GGUF or PyTorch's files, to a new folder.

    Examples: `lab models convert ./Qwen3-8B-Q8_0.gguf ./qwen --dtype bfloat16` ·
    `lab models convert ./with-pytorch-model-bin ./my-model`
    """
    from lab.pipelines import converting  # noqa: PLC0415 - imports torch

    found = _model(model)
    with notes.status("") as status:
        converting.convert(found, dtype, out, lambda step: status.update(f"{step} …"))
    _written(out)


@app.command()
def quantize(
    model: Name,
    form: Annotated[Quantization, typer.Argument(help="`int8` or `nf4`.")],
    out: Out,
) -> None:
    """
    Write a model with its linear layers in 8 or 4 bits to a new folder.

    Example: `lab models quantize Qwen/Qwen3-8B nf4 ./qwen-nf4`
    """
    from lab.pipelines import converting  # noqa: PLC0415 - imports torch

    found = _model(model)
    with notes.status("") as status:
        converting.quantize(found, form, out, lambda step: status.update(f"{step} …"))
    _written(out)


def local_folder(text: str) -> Path | None:
    """Return the folder of this machine that a text names, or None where it names none."""
    folder = os.path.expanduser(text)
    # Unlike `Path.is_dir`, no error for a text that can be no name.
    return Path(folder).resolve() if os.path.isdir(folder) else None


def _model(name: str) -> Model:
    """Return the model of a file in GGUF, of a folder, or one of the lab's by its name."""
    if is_gguf(name):
        return Model(id=Path(name).stem, task=Task.chat, source=file_of(name))
    if (folder := local_folder(name)) is not None:
        return Model(id=folder.name, task=Task.chat, source=str(folder))
    # Whatever it does: what it is made into shall chat.
    return model_of(asyncio.run(_card(name))).model_copy(update={"task": Task.chat})


def model_of(card: ModelCard) -> Model:
    """Return the model that a card is of; raise `InputError` where its files are a secret."""
    source = card.folder or card.hub_id
    if source is None:
        raise InputError(
            f"`{card.id}` comes from a folder of the lab's machine, which only administrators are "
            "told; give the folder itself."
        )
    return Model(id=card.model, task=card.task, source=source, revision=card.revision)


def _written(out: Path) -> None:
    notes.print(f"{out} is written. Let the lab run it: `lab models add {out}`.", soft_wrap=True)


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
