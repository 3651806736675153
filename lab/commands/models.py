"""`lab models`: what requests may name as `model`."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lab.commands import model_files
from lab.commands.client import open_client, open_running_client
from lab.commands.model_files import local_folder, model_of
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.config import load_settings
from lab.errors import InputError, UnknownModelError
from lab.pipelines.catalog import Catalog, configured
from lab.pipelines.factory import ledger_of
from lab.pipelines.llama_cpp.settings import file_of, with_files
from lab.pipelines.served.models import served_models
from lab.schemas.engine import Engine
from lab.schemas.explained_setting import ExplainedSetting
from lab.schemas.model import Model
from lab.schemas.model_card import ModelCard
from lab.schemas.task import Task
from lab.units import sized

app = typer.Typer(help="The models of this lab.", no_args_is_help=True, add_completion=False)
app.add_typer(model_files.app)

ROLES = "roles."

Name = Annotated[str, typer.Argument(help="As `lab models list` shows it.")]


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
        ["name", "model", "task", "window", "on disk", "in memory", "what it is"],
        [
            (
                *(c.id, c.model, c.task, c.context_length),
                "no" if c.size_bytes is None else sized(c.size_bytes),
                "yes" if c.loaded else "no",
                one_line(c.description),
            )
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

    Examples: `lab models show lab-tiny` · `lab models show Qwen/Qwen3-8B` ·
    `lab models show ./Qwen3-8B-Q4_K_M.gguf`
    """
    from lab.pipelines.llama_cpp.chat import foretell_llama_cpp  # noqa: PLC0415 - imports torch
    from lab.pipelines.load import foretell_chat  # noqa: PLC0415 - imports torch

    config = load_settings().config
    named = [config.chat.model, *config.chat.models, name]
    files = with_files(config.llama_cpp, named)
    served = served_models(config.vllm, files)
    catalog = Catalog(config.chat, config.embedding, config.remotes, served)
    known = {model.id: model for model in catalog.models()}
    by_file = {one.source: one for one in served if one.engine is Engine.llama_cpp}
    model = (
        known.get(name)
        or by_file.get(file_of(name))
        or asyncio.run(_added(name))
        or configured(name, None, Task.chat)
    )
    if catalog.remotes.model(name) or model.engine is Engine.vllm:
        raise InputError(
            f"`{name}` is not run by the lab itself, so nothing can be foretold of its memory: one "
            "of another server takes none here, and vLLM takes what its settings give it."
        )
    if model.task is not Task.chat:
        raise InputError(f"`{name}` does {model.task}; what is shown is of models that chat.")
    ahead = (
        foretell_llama_cpp(model, files)
        if model.engine is Engine.llama_cpp
        else foretell_chat(model, config.chat, download=False)
    )
    ledger = ledger_of(config.residency)
    device = max(ahead.devices, key=ledger.capacity)
    limit = ledger.capacity(device)
    chosen = ahead.choose(limit)
    if as_json:
        print_json(
            {
                "model": model.id,
                "device": device,
                "limit": limit,
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
                "yes" if need.total <= limit else "no",
            ]
            for form, need in ahead.needs.items()
        ],
    )
    notes.print(
        f"Needed {ahead.step}; {sized(limit)} of {device} may be taken.",
        f"It would be loaded as {chosen}."
        if chosen is not None
        else ahead.refusal(device, limit, ledger.limits(device)),
        soft_wrap=True,
    )


@app.command()
def add(
    source: Annotated[str, typer.Argument(help="A Hugging Face id, or the folder of a model.")],
    name: Annotated[
        str | None, typer.Option(help="Name in requests; by default the id, or the folder's name.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; by default the newest.")
    ] = None,
    task: Annotated[Task, typer.Option(help="What it does.")] = Task.chat,
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
) -> None:
    """
    Add a model to the running lab; its files are checked, and it is loaded when it is asked for.

    Of a Hugging Face model the small files are fetched, and their commit is pinned; `lab models
    pull` fetches the weights. For administrators.

    Examples: `lab models add Qwen/Qwen3-0.6B` · `lab models add ./my-model --name mine`
    """
    folder = local_folder(source)
    given = source if folder is None else str(folder)
    asked = {"name": name, "revision": revision, "task": task, "description": description}
    card = asyncio.run(_add(given, {key: value for key, value in asked.items() if value}))
    notes.print(f"`{card.id}` is a model of the lab.", _next_step(card), soft_wrap=True)


@app.command()
def remove(name: Name) -> None:
    """
    Take a model out of the running lab; its files stay where they are.

    One that is used, or that the settings name, stays. For administrators.

    Example: `lab models remove mine`
    """
    asyncio.run(_remove(name))
    notes.print(f"`{name}` is no model of the lab any more; its files were left as they are.")


@app.command()
def use(
    name: Annotated[
        str | None, typer.Argument(help="A model or profile; without it, the roles are shown.")
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            help="`primary`, `summary`, `analysis`, `research` or `fallback`; `lab models use` "
            "says what each does."
        ),
    ] = "primary",
    unset: Annotated[bool, typer.Option("--unset", help="Give up your choice.")] = False,
) -> None:
    """
    Choose what answers you when you name no model, or what works for you in another role.

    Examples: `lab models use lab-tiny` · `lab models use lab-tiny --role summary` ·
    `lab models use --role summary --unset` · `lab models use`
    """
    if unset and name is not None:
        raise InputError(f"Give either `{name}` or --unset.")
    if unset:
        chosen = asyncio.run(_unset(role))
        notes.print(f"`{role}` is what the lab says: {chosen or 'unset'}.")
    elif name is not None:
        asyncio.run(_use(name, role))
        notes.print(f"`{name}` is your {role} model.")
    else:
        print_table(
            ["role", "profile", "set by", "what it does"],
            [
                (one.key.removeprefix(ROLES), one.value, one.layer, one.description)
                for one in asyncio.run(_roles())
            ],
        )


@app.command()
def load(name: Name) -> None:
    """
    Bring a model into the memory of the running lab before anybody asks for it.

    For administrators. Example: `lab models load lab-tiny`
    """
    asyncio.run(_load(name))
    notes.print(f"`{name}` is in memory.")


@app.command()
def unload(name: Name) -> None:
    """
    Take a model out of the memory of the running lab; one that is used stays.

    For administrators. Example: `lab models unload lab-tiny`
    """
    asyncio.run(_unload(name))
    notes.print(f"`{name}` is not in memory.")


@app.command()
def share(
    name: Name,
    pinned: Annotated[
        bool | None, typer.Option("--pin/--no-pin", help="Never evict it, or end that.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(min=-100, max=100, help="Models of the lowest leave first; 0 at the start."),
    ] = None,
    relearn: Annotated[
        bool,
        typer.Option(
            "--relearn", help="Forget the limits found when the device ran out of memory."
        ),
    ] = False,
) -> None:
    """
    Say how a model shares the memory of the running lab, until that ends.

    For administrators. Examples: `lab models share lab-tiny --pin` ·
    `lab models share lab-tiny --no-pin --priority -10`
    """
    if pinned is None and priority is None and not relearn:
        raise InputError("Nothing to change: give --pin, --no-pin, --priority or --relearn.")
    asyncio.run(_share(name, pinned, priority, relearn=relearn))
    notes.print(f"`{name}` shares the memory as asked for.")


async def _added(name: str) -> Model | None:
    """Return a model that was added to the lab that runs, if one runs and has it."""
    if local_folder(name) is not None:
        return None
    async with open_running_client() as lab:
        try:
            return model_of(await lab.catalog.get(name)) if lab else None
        except UnknownModelError:
            return None


def _next_step(card: ModelCard) -> str:
    """Return what to do with a model that was added."""
    if card.task is not Task.chat:
        return "Set LAB_EMBEDDING_MODEL to what it comes from to let it make the embeddings."
    if card.size_bytes is None:
        return f"Fetch its weights: `lab models pull {card.id}`."
    return f"Talk to it: `lab chat -m {card.id}`."


async def _list() -> list[ModelCard]:
    async with open_client() as lab:
        return await lab.models()


async def _add(source: str, values: dict[str, Any]) -> ModelCard:
    async with open_client() as lab:
        return await lab.catalog.add(source, **values)


async def _remove(name: str) -> None:
    async with open_client() as lab:
        await lab.catalog.remove(name)


async def _use(name: str, role: str) -> None:
    async with open_client() as lab:
        await lab.use(name, role=role)


async def _unset(role: str) -> object:
    async with open_client() as lab:
        return (await lab.config.reset(ROLES + role)).value


async def _roles() -> list[ExplainedSetting]:
    async with open_client() as lab:
        return [one for one in await lab.config.explain() if one.key.startswith(ROLES)]


async def _load(name: str) -> None:
    async with open_client() as lab:
        with notes.status(f"Loading {name} …"):
            await lab.residents.load(name)


async def _unload(name: str) -> None:
    async with open_client() as lab:
        await lab.residents.unload(name)


async def _share(name: str, pinned: bool | None, priority: int | None, *, relearn: bool) -> None:
    async with open_client() as lab:
        await lab.residents.share(name, pinned=pinned, priority=priority, relearn=relearn)
