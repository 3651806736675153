"""`lab chat`: talk to a model in the terminal."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.markup import escape

from lab.client import Lab
from lab.client.answer import raise_failure
from lab.commands.client import open_client
from lab.commands.printing import notes, one_line
from lab.errors import InputError, LabError
from lab.schemas.event import Event
from lab.schemas.event_type import EventType

APPROVAL: Final = "approval"
"""What a run asks that wants to call tools."""
YES: Final = frozenset({"y", "yes"})

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
    fork: Annotated[
        UUID | None,
        typer.Option(help="Go on in a copy of this conversation, which itself stays as it is."),
    ] = None,
    at: Annotated[
        UUID | None, typer.Option(help="The last message of it to take along; with --fork.")
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option(
            "--workflow",
            "-w",
            help="`chat`, `planning`, `analysis`, `image`, `research`; `auto` = what fits.",
        ),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            "-t",
            help="A tool of `lab tools list` that it may call; several times for more.",
        ),
    ] = None,
) -> None:
    """
    Talk to a model in the terminal.

    A conversation is stored and remembered, and has the tools of `lab tools use`; a single question
    is not, and has those of --tool. Ctrl-D ends it.

    Examples: `lab chat` · `lab chat "What can you do?"` · `lab chat -m lab-tiny --seed 1 "Hello"` ·
    `lab chat --fork 0198f0c2-…` · `lab chat -w planning "Plan a trip to Oslo."` ·
    `lab chat -t calculator "What is 12 * 7?"`
    """
    if text and fork:
        raise InputError("A fork begins a conversation: leave the question out, or --fork.")
    if at and not fork:
        raise InputError("--at is a message of the conversation to fork: give --fork, too.")
    options: dict[str, Any] = {"model": model, "seed": seed, "workflow": workflow}
    if tool:
        options["settings"] = {"tools": {"enabled": tool}}
    asyncio.run(_once(text, options) if text else _converse(options, fork, at))


async def _once(text: str, options: Mapping[str, Any]) -> None:
    async with open_client() as lab:
        await _answer(lab, text, options)


async def _converse(options: Mapping[str, Any], fork: UUID | None, at: UUID | None) -> None:
    """Ask and answer until the end of the input; an answer that fails does not end the talk."""
    async with open_client() as lab:
        if fork is None:
            conversation = await lab.conversations.create()
        else:
            conversation = await lab.conversations.fork(fork, at)
            notes.print(f"[dim]{conversation.id}: {escape(conversation.title)}")
        while text := await _read_line():
            try:
                await _answer(lab, text, options, conversation.id)
            except LabError as error:
                notes.print(f"[red]{error}")


async def _answer(
    lab: Lab, text: str, options: Mapping[str, Any], conversation: UUID | None = None
) -> None:
    """Write the answer while it comes, and go on with it where it waits for a word."""
    answer = lab.stream(text, conversation=conversation, **options)
    n_written, waiting = await _write(answer, 0)
    while waiting is not None:
        run = await lab.runs.resume(waiting.run_id, await _decide(waiting))
        n_written, waiting = await _write(lab.runs.follow(run.id), n_written)
    typer.echo()


async def _write(events: AsyncGenerator[Event, None], n_before: int) -> tuple[int, Event | None]:
    """
    Write the pieces of an answer after so many characters, which a run before wrote already.

    Returns
    -------
    n_written : int
        Characters of it that are written now.
    waiting : Event or None
        Where it waits for the user, what it asks.
    """
    n_written = 0
    async with aclosing(events):
        async for event in events:
            if _asks_for_tools(event) and sys.stdin.isatty():
                return n_written, event
            if raise_failure(event).type is EventType.content:
                text = event.data["text"]
                typer.echo(text[max(0, n_before - n_written) :], nl=False)
                n_written += len(text)
            elif told := _beside(event):
                notes.print(f"[dim]{escape(one_line(told))}")
    return n_written, None


def _asks_for_tools(event: Event) -> bool:
    """Return whether a run waits until the user allows calls of tools."""
    asks = event.data.get("asks", []) if event.type is EventType.run_interrupted else []
    return any(isinstance(a["value"], dict) and a["value"].get("kind") == APPROVAL for a in asks)


async def _decide(waiting: Event) -> dict[str, bool]:
    """Ask whether the tools may be called that a run asks for."""
    for ask in waiting.data["asks"]:
        for call in ask["value"]["calls"]:
            arguments = json.dumps(call["arguments"], indent=2, ensure_ascii=False)
            asked = _visible(f"{call['name']} {arguments}")
            notes.print(f"\nMay this be called? {escape(asked)}", soft_wrap=True)
    notes.print("[bold]yes or no:[/] ", end="")
    return {"approve": (await asyncio.to_thread(sys.stdin.readline)).strip().lower() in YES}


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


def _visible(text: str) -> str:
    """Return a text in which nothing hides, such as marks that turn the direction around."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


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
