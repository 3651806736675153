"""`lab runs`: what was asked, and what happens in it."""

import asyncio
import json
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import typer

from lab.client.answer import raise_failure
from lab.commands.client import open_client
from lab.commands.printing import notes, print_json, print_table
from lab.errors import InputError
from lab.schemas.event_type import EventType
from lab.schemas.run import Run

app = typer.Typer(
    help="What was asked, and what happens in it.", no_args_is_help=True, add_completion=False
)

RunId = Annotated[UUID, typer.Argument(help="As `lab runs list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    conversation: Annotated[
        UUID | None, typer.Option("--conversation", help="Only those of this chat.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most runs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """
    List the newest runs.

    Example: `lab runs list -n 50`
    """
    found = asyncio.run(_list(conversation, limit))
    if as_json:
        print_json([run.model_dump(mode="json") for run in found])
    else:
        print_table(
            ["run", "asked at", "profile", "status"],
            [(run.id, f"{run.created_at:%F %T}", run.profile, run.status) for run in found],
        )


@app.command()
def show(run_id: RunId) -> None:
    """
    Print a run as JSON: what was asked, what the model saw, what it cost.

    Example: `lab runs show 0198f0c2-…`
    """
    print_json(asyncio.run(_get(run_id)).model_dump(mode="json"))


@app.command()
def follow(
    run_id: RunId,
    after: Annotated[
        int, typer.Option(min=-1, help="Position of the last event that is known already.")
    ] = -1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every event, as a line of JSON.")
    ] = False,
) -> None:
    """
    Write the answer of a run while it comes, from its beginning on; Ctrl-C leaves the run alone.

    Example: `lab runs follow 0198f0c2-…`
    """
    asyncio.run(_follow(run_id, after, as_json=as_json))


@app.command()
def cancel(run_id: RunId) -> None:
    """
    Cancel a run that goes on without its client.

    Example: `lab runs cancel 0198f0c2-…`
    """
    typer.echo(asyncio.run(_cancel(run_id)).status)


@app.command()
def pause(run_id: RunId) -> None:
    """
    Interrupt a run that goes on without its client, to resume it later.

    Example: `lab runs pause 0198f0c2-…`
    """
    typer.echo(asyncio.run(_pause(run_id)).status)


@app.command()
def resume(
    run_id: RunId,
    approve: Annotated[
        bool | None,
        typer.Option("--approve/--deny", help="Whether the tools may be called that it asks for."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why not, for the model to read; with --deny.")
    ] = None,
    reply: Annotated[
        str | None, typer.Option(help="The reply to what it asks, as JSON, instead.")
    ] = None,
) -> None:
    """
    Go on with an interrupted run of a conversation, and print the run that does.

    Examples: `lab runs resume 0198f0c2-…` · `lab runs resume 0198f0c2-… --deny --reason "No."`
    """
    typer.echo(asyncio.run(_resume(run_id, _reply(approve, reason, reply))).id)


async def _list(conversation: UUID | None, limit: int) -> list[Run]:
    async with open_client() as lab:
        return await lab.runs.list(limit, conversation=conversation)


async def _get(run_id: UUID) -> Run:
    async with open_client() as lab:
        return await lab.runs.get(run_id)


async def _follow(run_id: UUID, after: int, *, as_json: bool) -> None:
    async with open_client() as lab, aclosing(lab.runs.follow(run_id, after)) as events:
        async for event in events:
            if as_json:
                typer.echo(event.model_dump_json())
            elif raise_failure(event).type is EventType.content and not event.data.get("index"):
                typer.echo(event.data["text"], nl=False)
    if not as_json:
        typer.echo()
        notes.print(f"[dim]{event.type.value}")


async def _cancel(run_id: UUID) -> Run:
    async with open_client() as lab:
        return await lab.runs.cancel(run_id)


async def _pause(run_id: UUID) -> Run:
    async with open_client() as lab:
        return await lab.runs.pause(run_id)


async def _resume(run_id: UUID, reply: Any) -> Run:
    async with open_client() as lab:
        return await lab.runs.resume(run_id, reply)


def _reply(approve: bool | None, reason: str | None, reply: str | None) -> Any:
    """Return what the options say to a run that asks; None where they say nothing."""
    if reply is not None:
        if approve is not None:
            raise InputError("Give --approve, --deny or --reply, one of them.")
        try:
            return json.loads(reply)
        except json.JSONDecodeError as error:
            raise InputError(f"--reply is no JSON: {error}.") from None
    if reason is not None and approve is not False:
        raise InputError("--reason says why not: give it with --deny.")
    if approve is None:
        return None
    return {"approve": approve, **({"reason": reason} if reason else {})}
