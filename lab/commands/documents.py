"""`lab documents`: add files, see what the lab reads in them, delete them."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.filesize import decimal
from rich.progress import Progress

from lab.client import Lab
from lab.commands.client import open_client
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.errors import InputError
from lab.schemas.document import Document
from lab.schemas.document_added import DocumentAdded
from lab.schemas.document_hit import DocumentHit

app = typer.Typer(
    help="The documents that the lab reads for you.", no_args_is_help=True, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most rows.")]
DocumentId = Annotated[UUID, typer.Argument(help="As `lab documents list` shows it.")]


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(help="Text, Markdown, HTML, PDF or Word.")],
    as_json: AsJson = False,
) -> None:
    """
    Add files; the same bytes are added once, whatever they are called.

    One that cannot be read is named, and the others are added all the same; the exit code is
    then 1.

    Examples: `lab documents add handbook.pdf` · `lab documents add notes/*.md`
    """
    added, n_failed = asyncio.run(_add(files))
    if as_json:
        print_json([one.model_dump(mode="json") for one in added])
    elif added:
        print_table(
            ["document", "name", "size", "passages", ""],
            [(*_cells(one.document), "added" if one.is_new else "there already") for one in added],
        )
    if n_failed:
        raise typer.Exit(1)


@app.command("list")
def list_(limit: Limit = 20, as_json: AsJson = False) -> None:
    """
    List the newest documents.

    Example: `lab documents list -n 50`
    """
    found = asyncio.run(_list(limit))
    if as_json:
        print_json([document.model_dump(mode="json") for document in found])
    else:
        _print(found)


@app.command()
def show(
    document_id: DocumentId,
    start: Annotated[int, typer.Option(min=0, help="First character.")] = 0,
    end: Annotated[int | None, typer.Option(min=0, help="Character after the last.")] = None,
) -> None:
    """
    Print the text of a document as the lab reads it, or the part that is cited.

    Example: `lab documents show 0198f0c2-… --start 1200 --end 1650`
    """
    document, text = asyncio.run(_show(document_id, start, end))
    notes.print(
        f"{document.name}: {document.media_type}, {document.n_characters:,} characters, "
        f"added {document.created_at:%F %T}",
        markup=False,
    )
    typer.echo(text)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, as you would ask for it.")],
    limit: Limit = 10,
    as_json: AsJson = False,
) -> None:
    """
    Show the passages that bear on a question, best first: what a model would be given.

    Example: `lab documents search "What is the door code?"`
    """
    hits = asyncio.run(_search(text, limit))
    if as_json:
        print_json([hit.model_dump(mode="json") for hit in hits])
    else:
        print_table(
            ["document", "name", "place", "score", "text"],
            [
                (
                    hit.document.id,
                    hit.document.name,
                    _place(hit),
                    f"{hit.score:.2f}",
                    one_line(hit.chunk.text),
                )
                for hit in hits
            ],
        )


@app.command()
def delete(document_id: DocumentId) -> None:
    """
    Delete a document; the file that it was made from stays where it is.

    Example: `lab documents delete 0198f0c2-…`
    """
    asyncio.run(_delete(document_id))


async def _add(files: Sequence[Path]) -> tuple[list[DocumentAdded], int]:
    added: list[DocumentAdded] = []
    async with open_client() as lab:
        with Progress(console=notes, transient=True) as progress:
            for file in files:
                try:
                    added.append(await _send(lab, file, progress))
                except InputError as error:
                    notes.print(f"Error: {error}", markup=False, soft_wrap=True)
    return added, len(files) - len(added)


async def _send(lab: Lab, file: Path, progress: Progress) -> DocumentAdded:
    """Send one file; the bar is full when all of it is sent, and stays while it is read."""
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size
            task = progress.add_task(f"{file.name} ({decimal(size)})", total=size)
            return await lab.documents.add(progress.wrap_file(opened, task_id=task), file.name)
    except OSError as error:
        raise InputError(f"`{file}` cannot be opened: {error.strerror}.") from error


async def _list(limit: int) -> list[Document]:
    async with open_client() as lab:
        return await lab.documents.list(limit)


async def _show(document_id: UUID, start: int, end: int | None) -> tuple[Document, str]:
    async with open_client() as lab:
        document = await lab.documents.get(document_id)
        return document, await lab.documents.text(document_id, start, end)


async def _search(text: str, limit: int) -> list[DocumentHit]:
    async with open_client() as lab:
        return await lab.documents.search(text, limit)


async def _delete(document_id: UUID) -> None:
    async with open_client() as lab:
        await lab.documents.delete(document_id)


def _print(documents: Iterable[Document]) -> None:
    print_table(
        ["document", "name", "size", "passages", "added"],
        [(*_cells(document), f"{document.created_at:%F %T}") for document in documents],
    )


def _cells(document: Document) -> tuple[UUID, str, str, int]:
    return document.id, document.name, decimal(document.n_bytes), document.n_chunks


def _place(hit: DocumentHit) -> str:
    page = f"page {hit.chunk.page}, " if hit.chunk.page else ""
    return f"{page}{hit.chunk.start}–{hit.chunk.end}"
