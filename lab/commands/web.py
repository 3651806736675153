"""`lab web`: search the web, read pages, see and delete those that were read."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.filesize import decimal

from lab.commands.client import open_client
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.errors import InputError
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.schemas.web_outcome import WebOutcome
from lab.schemas.web_page import WebPage
from lab.schemas.web_search_response import WebSearchResponse

app = typer.Typer(
    help="Search the web, and read pages that are kept for you.",
    no_args_is_help=True,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PageId = Annotated[UUID, typer.Argument(help="As `lab web pages` shows it.")]


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="Most pages.")] = 10,
    provider: Annotated[
        list[SearchProviderKind] | None,
        typer.Option(help="Whom to ask, the first choice first; may be given several times."),
    ] = None,
    wordings: Annotated[
        int, typer.Option(min=0, max=5, help="Look for so many further wordings of a model's too.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """
    Search the web: pages that bear on a query, the nearest first.

    A provider that fails is named; where all fail, the exit code is 1.

    Example: `lab web search "lighthouses of the North Sea" -n 5`
    """
    found = asyncio.run(_search(query, limit, provider, wordings))
    for wording in found.queries[1:]:
        notes.print(f"Also looked for: {wording}", markup=False, soft_wrap=True)
    for failure in found.failures:
        notes.print(failure.message, markup=False, soft_wrap=True)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        ["score", "title", "address", "by", "text"],
        [
            (
                f"{hit.score:.2f}",
                one_line(hit.title),
                hit.url,
                ", ".join(hit.providers),
                one_line(hit.snippet),
            )
            for hit in found.hits
        ],
    )
    if not found.hits:
        notes.print(f"Nothing was found by {', '.join(found.asked)}.", markup=False)


@app.command()
def read(
    urls: Annotated[list[str], typer.Argument(help="Addresses of pages.")],
    depth: Annotated[int, typer.Option(min=0, max=20, help="Links to go away from them.")] = 0,
    max_pages: Annotated[
        int | None, typer.Option(min=1, help="Most pages, links included.", show_default=False)
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Read the newest snapshots, without the web.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Read pages and keep them: main text, title, author and day, with a snapshot.

    A page that cannot be read is named, and the others are read all the same; the exit code is
    then 1.

    Example: `lab web read https://example.org/ --depth 1 --max-pages 20`
    """
    outcomes = asyncio.run(_read(urls, depth, max_pages, offline, quiet=as_json))
    if as_json:
        print_json([outcome.model_dump(mode="json") for outcome in outcomes])
    if any(outcome.failure for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def pages(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """
    List the pages that were read, the newest first.

    Example: `lab web pages -n 50`
    """
    found = asyncio.run(_pages(limit))
    if as_json:
        print_json([page.model_dump(mode="json") for page in found])
        return
    print_table(
        ["page", "title", "address", "size", "read"],
        [
            (
                page.id,
                one_line(page.title or ""),
                page.url,
                decimal(page.n_bytes),
                f"{page.read_at:%F %T}",
            )
            for page in found
        ],
    )


@app.command()
def snapshot(
    page_id: PageId,
    file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")],
) -> None:
    """
    Write the snapshot of a page to a WARC file.

    Example: `lab web snapshot 0198f0c2-… page.warc.gz`
    """
    content = asyncio.run(_snapshot(page_id))
    try:
        with file.open("xb") as opened:
            opened.write(content)
    except OSError as error:
        raise InputError(f"`{file}` cannot be written: {error.strerror}.") from error


@app.command()
def delete(page_id: PageId) -> None:
    """
    Delete a page with its snapshot.

    Example: `lab web delete 0198f0c2-…`
    """
    asyncio.run(_delete(page_id))


async def _search(
    query: str, limit: int, providers: list[SearchProviderKind] | None, wordings: int
) -> WebSearchResponse:
    async with open_client() as lab:
        return await lab.search_web(
            query, limit=limit, providers=providers or None, wordings=wordings
        )


async def _read(
    urls: list[str], depth: int, max_pages: int | None, offline: bool, *, quiet: bool
) -> list[WebOutcome]:
    """Read pages; unless `quiet`, print each as soon as it is there."""
    found: list[WebOutcome] = []
    async with open_client() as lab:
        reading = lab.web.read(urls, max_pages=max_pages, max_depth=depth, offline=offline)
        with notes.status("Reading …") as status:
            async with aclosing(reading) as outcomes:
                async for outcome in outcomes:
                    found.append(outcome)
                    status.update(f"Reading … {len(found)} done")
                    if outcome.failure:
                        notes.print(
                            f"Error: `{outcome.failure.url}` was not read. "
                            f"{outcome.failure.message}",
                            markup=False,
                            soft_wrap=True,
                        )
                    elif outcome.page and not quiet:
                        _print(outcome.page)
    return found


async def _pages(limit: int) -> list[WebPage]:
    async with open_client() as lab:
        return await lab.web.pages(limit)


async def _snapshot(page_id: UUID) -> bytes:
    async with open_client() as lab:
        return await lab.web.snapshot(page_id)


async def _delete(page_id: UUID) -> None:
    async with open_client() as lab:
        await lab.web.delete(page_id)


def _print(page: WebPage) -> None:
    """Print what is known of a page beside the result, and its text as the result."""
    about = [page.title, page.author, page.published_on, page.language]
    notes.print(
        f"{page.url}: {page.media_type}, {decimal(page.n_bytes)}"
        + "".join(f"; {part}" for part in about if part),
        markup=False,
        soft_wrap=True,
    )
    typer.echo(page.text)
