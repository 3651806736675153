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
) -> None:
    """
    Talk to a model in the terminal.

    A conversation is stored and remembered; a single question is not. Ctrl-D ends it.

    Examples: `lab chat` · `lab chat "What can you do?"` · `lab chat -m lab-tiny --seed 1 "Hello"`
    """
    asyncio.run(_once(text, model, seed) if text else _converse(model, seed))


async def _once(text: str, model: str | None, seed: int | None) -> None:
    async with open_client() as lab:
        await _answer(lab, text, model, seed)


async def _converse(model: str | None, seed: int | None) -> None:
    """Ask and answer until the end of the input; an answer that fails does not end the talk."""
    async with open_client() as lab:
        conversation = await lab.conversations.create()
        while text := await _read_line():
            try:
                await _answer(lab, text, model, seed, conversation.id)
            except LabError as error:
                notes.print(f"[red]{error}")


async def _answer(
    lab: Lab, text: str, model: str | None, seed: int | None, conversation: UUID | None = None
) -> None:
    """Write the answer while it comes."""
    answer = lab.stream(text, model=model, conversation=conversation, seed=seed)
    async with aclosing(answer) as events:
        async for event in events:
            if raise_failure(event).type is EventType.content:
                typer.echo(event.data["text"], nl=False)
            elif event.type is EventType.tool_started:
                notes.print(f"[dim]{escape(_call(event.data['tool_call']))}")
    typer.echo()


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
