"""`lab chat`: talk to a model in the terminal."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from lab.client import Lab
from lab.client.answer import raise_failure
from lab.commands.client import open_client
from lab.commands.printing import notes, one_line
from lab.errors import LabError
from lab.schemas.event import Event
from lab.schemas.event_type import EventType

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    text: Annotated[
        str | None, typer.Argument(help="What to ask; without it, a conversation begins.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="As `lab models list` names it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    workflow: Annotated[
        str | None,
        typer.Option(
            "--workflow", "-w", help="`chat`, `planning`, `analysis`, `image`; `auto` = what fits."
        ),
    ] = None,
) -> None:
    """
    Talk to a model in the terminal.

    A conversation is stored and remembered; a single question is not. Ctrl-D ends it.

    Examples: `lab chat` · `lab chat "What can you do?"` · `lab chat -m lab-tiny --seed 1 "Hello"` ·
    `lab chat -w planning "Plan a trip to Oslo."`
    """
    options = {"model": model, "seed": seed, "workflow": workflow}
    asyncio.run(_once(text, options) if text else _converse(options))


async def _once(text: str, options: Mapping[str, Any]) -> None:
    async with open_client() as lab:
        await _answer(lab, text, options)


async def _converse(options: Mapping[str, Any]) -> None:
    """Ask and answer until the end of the input; an answer that fails does not end the talk."""
    async with open_client() as lab:
        conversation = await lab.conversations.create()
        while text := await _read_line():
            try:
                await _answer(lab, text, options, conversation.id)
            except LabError as error:
                notes.print(f"[red]{error}")


async def _answer(
    lab: Lab, text: str, options: Mapping[str, Any], conversation: UUID | None = None
) -> None:
    """Write the answer while it comes."""
    answer = lab.stream(text, conversation=conversation, **options)
    async with aclosing(answer) as events:
        async for event in events:
            if raise_failure(event).type is EventType.content:
                typer.echo(event.data["text"], nl=False)
            elif told := _beside(event):
                notes.print(f"[dim]{escape(one_line(told))}")
    typer.echo()


def _beside(event: Event) -> str:
    """Return what is worth a line beside the answer, if anything."""
    data = event.data
    match event.type:
        case EventType.tool_started:
            return _call(data["tool_call"])
        case EventType.intent:
            return f"{data['intent'] or data['reason']} → {data['workflow']}"
        case EventType.stage:
            return f"{data['name']} {data['n_done']}/{data['n_total']}"
        case EventType.image:
            return f"picture {data['image']['id']}"
        case _:
            return ""


def _call(call: Mapping[str, Any]) -> str:
    """Return a call of a tool on one line."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in call["arguments"].items())
    return one_line(f"{call['name']}({arguments})")


async def _read_line() -> str:
    """Return the next line that is not empty; nothing at the end of the input."""
    while True:
        if sys.stdin.isatty():
            notes.print("[bold]>[/] ", end="")
        line = await asyncio.to_thread(sys.stdin.readline)
        if line.strip() or not line:
            return line.strip()
