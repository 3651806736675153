"""`lab models`: what requests may name as `model`."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from lab.commands.client import open_client
from lab.commands.printing import notes, print_json, print_table
from lab.config import load_settings
from lab.errors import InputError
from lab.pipelines.catalog import Catalog, configured
from lab.schemas.model_card import ModelCard
from lab.schemas.task import Task

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


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="As `lab models list` names it, or any chat model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show what a chat model needs of the memory here, in each form; nothing is loaded.

    Of a model on Hugging Face only its configuration is downloaded.

    Examples: `lab models show lab-tiny` · `lab models show Qwen/Qwen3-8B`
    """
    from lab.pipelines.loading import foretold  # noqa: PLC0415 - imports torch
    from lab.pipelines.memory import sized  # noqa: PLC0415

    config = load_settings().config
    known = {model.id: model for model in Catalog(config.chat, config.embedding).models()}
    model = known.get(name) or configured(name, None, Task.chat)
    if model.task is not Task.chat:
        raise InputError(f"`{name}` does {model.task}; what is shown is of models that chat.")
    ahead = foretold(model, config.chat)
    chosen = ahead.choose(config.chat.quantization)
    if as_json:
        print_json(
            {
                "model": model.id,
                "device": str(ahead.device),
                "limit": ahead.limit,
                "needs": {form: asdict(need) for form, need in ahead.needs.items()},
                "chosen": chosen,
            }
        )
        return
    print_table(
        ["form", "weights", "keys and values", "activations", "together", "fits"],
        [
            [
                form,
                *(sized(n) for n in (need.weights, need.cache, need.activations, need.total)),
                "yes" if ahead.fits(form) else "no",
            ]
            for form, need in ahead.needs.items()
        ],
    )
    notes.print(
        f"Needed to take {ahead.n_tokens:,} tokens of a prompt; {sized(ahead.limit)} of "
        f"{ahead.device} may be taken.",
        f"It would be loaded as {chosen}."
        if chosen is not None
        else ahead.refusal(model.id, config.chat.quantization),
        soft_wrap=True,
    )


async def _list() -> list[ModelCard]:
    async with open_client() as lab:
        return await lab.models()
