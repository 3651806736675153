"""`lab profiles`: models with parameters, system prompt and window, under names."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lab.commands.client import open_client
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.errors import InputError, UnknownModelError
from lab.schemas.model_profile import ModelProfile
from lab.schemas.profile_list import ProfileList
from lab.schemas.stored_profile import StoredProfile

app = typer.Typer(
    help="Models with parameters and system prompt, under names.",
    no_args_is_help=True,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="As `lab profiles list` shows it.")]
Description = Annotated[str | None, typer.Option(help="One line for people.")]
Prompt = Annotated[
    str | None, typer.Option("--system-prompt", "-s", help="System prompt; empty for none.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", "-p", help="E.g. `temperature=0.7`; several may be given. `NAME=` unsets."
    ),
]
Window = Annotated[int | None, typer.Option(help="Tokens of the window; 0 for the model's own.")]
Workflow = Annotated[str | None, typer.Option(help="Name of the workflow that answers.")]


@app.callback()
def profiles() -> None:
    """Models with parameters and system prompt, under names."""


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """
    List the profiles of the lab, and yours.

    Example: `lab profiles list`
    """
    found = asyncio.run(_list())
    if as_json:
        print_json(found.model_dump(mode="json", exclude_unset=True))
        return
    rows = [("lab", one) for one in found.system]
    rows += [("you", stored.profile) for stored in found.own]
    print_table(
        ["name", "whose", "model", "parameters", "what it is"],
        [(p.id, whose, p.model, _said(p), one_line(p.description)) for whose, p in rows],
    )


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """
    Show all that a profile says.

    Example: `lab profiles show brief`
    """
    profile = _named(asyncio.run(_list()), name)
    if as_json:
        print_json(profile.model_dump(mode="json", exclude_unset=True))
        return
    for key, value in profile.model_dump(mode="json", exclude={"parameters"}).items():
        if value not in (None, ""):
            typer.echo(f"{key.replace('_', ' ')}: {value}")
    if _said(profile):
        typer.echo(f"parameters: {_said(profile)}")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What requests shall call it.")],
    model: Annotated[str, typer.Option("--model", "-m", help="As `lab models list` names it.")],
    description: Description = None,
    system_prompt: Prompt = None,
    parameter: Parameters = None,
    context_length: Window = None,
    workflow: Workflow = None,
) -> None:
    """
    Make a profile of your own; its model is looked at, and not loaded.

    Examples: `lab profiles add brief -m lab-tiny -p max_new_tokens=40` ·
    `lab profiles add pirate -m lab-tiny -s "You are a pirate." -p temperature=0.8`
    """
    values = _values(description, system_prompt, context_length, workflow)
    if parameter:
        values["parameters"] = _merged({}, parameter)
    _tell("made", asyncio.run(_add(name, model, values)))


@app.command("set")
def set_(
    name: Name,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Another model.")] = None,
    description: Description = None,
    system_prompt: Prompt = None,
    parameter: Parameters = None,
    context_length: Window = None,
    workflow: Workflow = None,
) -> None:
    """
    Change a profile of yours; what is not named stays.

    Examples: `lab profiles set brief -p temperature=0.2` · `lab profiles set pirate -s ""`
    """
    values = _values(description, system_prompt, context_length, workflow)
    values |= {"model": model} if model is not None else {}
    if not values and not parameter:
        raise InputError("Nothing to change: give what shall become of the profile.")
    _tell("changed", asyncio.run(_set(name, values, parameter or [])))


@app.command()
def remove(name: Name) -> None:
    """
    Delete a profile of yours; answers that it gave stay.

    Example: `lab profiles remove brief`
    """
    asyncio.run(_remove(name))
    notes.print(f"The profile `{name}` is deleted.")


def _values(
    description: str | None, prompt: str | None, window: int | None, workflow: str | None
) -> dict[str, Any]:
    """Return what was given, as a profile writes it."""
    given = {
        "description": description,
        "system_prompt": prompt,
        "context_length": window,
        "workflow": workflow,
    }
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    for key in ("system_prompt", "context_length"):
        if key in values:
            values[key] = values[key] or None
    return values


def _merged(known: dict[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """Return sampling parameters with those that were given as `NAME=VALUE`."""
    values = dict(known)
    for one in given:
        name, sign, text = one.partition("=")
        if not sign or not name:
            raise InputError(f"`{one}` is no parameter; write it as `temperature=0.7`.")
        values.pop(name, None)
        if text:
            values[name] = _parsed(text)
    return values


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _said(profile: ModelProfile) -> str:
    set_ = (
        profile.parameters.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        if (profile.parameters)
        else {}
    )
    return " ".join(f"{name}={json.dumps(value)}" for name, value in set_.items())


def _named(found: ProfileList, name: str) -> ModelProfile:
    known = {p.id: p for p in (*(stored.profile for stored in found.own), *found.system)}
    if name not in known:
        raise UnknownModelError(name, list(known), "profile")
    return known[name]


def _tell(what: str, stored: StoredProfile) -> None:
    name = stored.profile.id
    notes.print(f"The profile `{name}` is {what}: `lab chat -m {name}`.")


async def _list() -> ProfileList:
    async with open_client() as lab:
        return await lab.profiles.list()


async def _add(name: str, model: str, values: dict[str, Any]) -> StoredProfile:
    async with open_client() as lab:
        return await lab.profiles.add(name, model, **values)


async def _set(name: str, values: dict[str, Any], parameters: Sequence[str]) -> StoredProfile:
    async with open_client() as lab:
        if parameters:
            known = (await lab.profiles.get(name)).profile.parameters
            given = known.model_dump(mode="json", exclude_unset=True) if known else {}
            values["parameters"] = _merged(given, parameters) or None
        return await lab.profiles.set(name, **values)


async def _remove(name: str) -> None:
    async with open_client() as lab:
        await lab.profiles.remove(name)
