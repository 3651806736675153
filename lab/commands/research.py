"""`lab research`: questions that are answered by pages of the web."""

import asyncio
import builtins
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lab.client import Lab
from lab.client.answer import raise_failure
from lab.commands.client import open_client
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.errors import ConflictError
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.research_citation import ResearchCitation
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_task import ResearchTask

app = typer.Typer(
    help="Answer questions by pages of the web, with citations that are verified.",
    no_args_is_help=True,
    add_completion=False,
)

CANCELLED = 130
"""What a shell expects of a command that Ctrl-C ended."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TaskId = Annotated[UUID, typer.Argument(help="As `lab research list` shows it.")]


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What is to be found out.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Who plans and sums up.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Replay earlier searches and snapshots.")
    ] = False,
    max_pages: Annotated[
        int | None, typer.Option(min=1, max=200, help="Most pages to read.", show_default=False)
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds to search and read.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Answer a question by pages of the web, and print the report as Markdown.

    Ctrl-C cancels it; what is done by then is kept, and `lab research resume` goes on.

    Example: `lab research ask "When was the lighthouse of Norderhaven first lit?"`
    """
    given = {"max_pages": max_pages, "timeout_s": timeout_s}
    limits = {name: value for name, value in given.items() if value is not None}
    _run(_ask(question, as_json=as_json, model=model, offline=offline, **limits))


@app.command(name="list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """
    List what was asked, the newest first.

    Example: `lab research list -n 50`
    """
    found = asyncio.run(_list(limit))
    if as_json:
        print_json([task.model_dump(mode="json") for task in found])
        return
    print_table(
        ["research", "asked at", "status", "question"],
        [(t.id, f"{t.created_at:%F %T}", t.status.value, one_line(t.question)) for t in found],
    )


@app.command()
def show(task_id: TaskId, as_json: AsJson = False) -> None:
    """
    Show the steps of a task, and which of its citations are verified.

    Example: `lab research show 0198f0c2-…`
    """
    details = asyncio.run(_get(task_id))
    if as_json:
        print_json(details.model_dump(mode="json"))
        return
    print_table(
        ["step", "status", "question"],
        [(s.kind.value, s.status.value, one_line(s.question)) for s in details.steps],
    )
    print_table(
        ["source", "verified", "claim", "address"],
        [(c.number, _verdict(c), one_line(c.claim), c.url) for c in details.citations],
    )
    if details.task.error:
        notes.print(details.task.error, markup=False, soft_wrap=True)


@app.command()
def report(task_id: TaskId) -> None:
    """
    Print the report of a task as Markdown.

    Example: `lab research report 0198f0c2-…`
    """
    typer.echo(asyncio.run(_report(task_id)), nl=False)


@app.command()
def cancel(task_id: TaskId) -> None:
    """
    Cancel a task; `lab research resume` goes on with it.

    Example: `lab research cancel 0198f0c2-…`
    """
    typer.echo(asyncio.run(_cancel(task_id)).status.value)


@app.command()
def resume(task_id: TaskId, as_json: AsJson = False) -> None:
    """
    Go on with a task that was stopped or failed, and print its report.

    What is done of it is not done again. Ctrl-C cancels it.

    Example: `lab research resume 0198f0c2-…`
    """
    _run(_resume(task_id, as_json=as_json))


@app.command()
def delete(task_id: TaskId) -> None:
    """
    Delete a task with its report; the pages that it read stay (`lab web pages`).

    Example: `lab research delete 0198f0c2-…`
    """
    asyncio.run(_delete(task_id))


def _run(work: Any) -> None:
    """Run until the end, or until Ctrl-C has cancelled what was begun."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(CANCELLED) from None


async def _ask(question: str, *, as_json: bool, **options: Any) -> None:
    async with open_client() as lab:
        task = await lab.research.start(question, **options)
        await _follow(lab, task)
        await _print(lab, task.id, as_json=as_json)


async def _resume(task_id: UUID, *, as_json: bool) -> None:
    async with open_client() as lab:
        task = await lab.research.resume(task_id)
        await _follow(lab, task)
        await _print(lab, task.id, as_json=as_json)


async def _follow(lab: Lab, task: ResearchTask) -> None:
    """Show the progress of a task until it has ended; Ctrl-C cancels it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, console=notes, transient=True) as progress:
            bars: dict[str, TaskID] = {}
            async with aclosing(lab.research.follow(task.id)) as events:
                async for event in events:
                    _show(progress, bars, raise_failure(event))
    except asyncio.CancelledError:
        await lab.research.cancel(task.id)
        notes.print(f"Cancelled; go on with `lab research resume {task.id}`.", markup=False)
        raise


def _show(progress: Progress, bars: dict[str, TaskID], event: Event) -> None:
    """Show how many steps of each kind are done."""
    if event.type is not EventType.stage:
        return
    name = event.data["name"]
    if name not in bars:
        bars[name] = progress.add_task(name)
    progress.update(bars[name], completed=event.data["n_done"], total=event.data["n_total"])


async def _print(lab: Lab, task_id: UUID, *, as_json: bool) -> None:
    details = await lab.research.get(task_id)
    if details.task.report is None:
        what = details.task.error or f"Go on with `lab research resume {task_id}`."
        raise ConflictError(f"The research is {details.task.status.value}. {what}")
    if as_json:
        print_json(details.model_dump(mode="json"))
        return
    typer.echo(await lab.research.report(task_id), nl=False)
    n_verified = sum(one.verified for one in details.citations)
    notes.print(f"{n_verified} of {len(details.citations)} citations verified; {task_id}")


async def _list(limit: int) -> builtins.list[ResearchTask]:
    async with open_client() as lab:
        return await lab.research.list(limit)


async def _get(task_id: UUID) -> ResearchDetails:
    async with open_client() as lab:
        return await lab.research.get(task_id)


async def _report(task_id: UUID) -> str:
    async with open_client() as lab:
        return await lab.research.report(task_id)


async def _cancel(task_id: UUID) -> ResearchTask:
    async with open_client() as lab:
        return await lab.research.cancel(task_id)


async def _delete(task_id: UUID) -> None:
    async with open_client() as lab:
        await lab.research.delete(task_id)


def _verdict(citation: ResearchCitation) -> str:
    if not citation.verified:
        return f"no: {citation.reason}"
    return "yes" if citation.page_id else "yes, and its page was deleted since"
