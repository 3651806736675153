"""Read pages of the web by Scrapy, in a child process: this one has an event loop of its own."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from tempfile import TemporaryFile
from typing import IO

import structlog

from lab.errors import cut
from lab.schemas.pages_config import PagesConfig
from lab.schemas.web_config import WebConfig
from lab.schemas.web_failure import WebFailure
from lab.schemas.web_failure_reason import WebFailureReason
from lab.waiting import place_of
from lab.web.pages import Outcome, ReadPage, failed
from lab.web.records import END, LINE_BYTES, LINE_FACTOR, Job, outcome_of

TOLD = 2000
"""Characters of what a dead child complained about that go into the log."""

log = structlog.get_logger(__name__)


class Crawl:
    """
    Pages of the web, as they are now: a `PageSource`.

    Parameters
    ----------
    web : WebConfig
        Where the lab may go, and the limits of one page.
    pages : PagesConfig
        How pages are read, and how far one reading may go.
    """

    def __init__(self, web: WebConfig, pages: PagesConfig) -> None:
        self._web = web
        self._pages = pages
        self._readers = asyncio.Semaphore(pages.readers)

    async def read(
        self, urls: Sequence[str], *, max_pages: int, max_depth: int
    ) -> AsyncGenerator[Outcome, None]:
        """Yield what comes of each address as soon as it is known, as `PageSource` says."""
        job = Job(list(dict.fromkeys(urls)), max_pages, max_depth, self._web, self._pages)
        async with place_of(self._readers), aclosing(self._outcomes(job)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _outcomes(self, job: Job) -> AsyncGenerator[Outcome, None]:
        """Yield what the child tells, and then why the rest was not read."""
        waiting = dict.fromkeys(job.urls)
        left = job.max_pages
        with TemporaryFile() as complaints:
            async with _child(job, complaints) as child:
                end = asyncio.get_running_loop().time() + self._pages.timeout_s
                while left and (line := await _line(child, end)) not in _ENDS:
                    outcome = outcome_of(line)
                    left -= isinstance(outcome, ReadPage)
                    waiting.pop(_asked(outcome), None)
                    _note(outcome)
                    yield outcome
            for url in waiting:
                yield failed(url, *self._why(left, line, child, complaints))

    def _why(
        self, left: int, line: bytes, child: Process, complaints: IO[bytes]
    ) -> tuple[WebFailureReason, str]:
        """Return why an address has no outcome, from how reading ended."""
        if not left:
            return WebFailureReason.unread, (
                "There are as many pages as were asked for (max_pages) without it."
            )
        if line == _LATE:
            return WebFailureReason.unread, (
                f"It was not read within the {self._pages.timeout_s:g} s that reading may take "
                "(pages.timeout_s); ask for fewer pages, or ask the operator for more."
            )
        said = _tail(complaints)
        log.error("reader of pages broke off", status=child.returncode, said=said)
        return WebFailureReason.crashed, (
            f"The process that reads pages broke off (exit status {child.returncode}): it needs "
            "too much memory, or a page breaks what reads it."
        )


_LATE = b"late"
_ENDS = (b"", END, _LATE)


@asynccontextmanager
async def _child(job: Job, complaints: IO[bytes]) -> AsyncIterator[Process]:
    """Start a child with its job; it has ended after the block, however that ends."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "utf8", "-m", "lab.web"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=complaints,
        # The packages of this process, and none of its variables: they hold secrets.
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
        limit=LINE_FACTOR * job.web.max_bytes + LINE_BYTES,
    )
    try:
        assert child.stdin is not None, "it is a pipe"
        child.stdin.write(job.line())  # and stays open: the child ends when it closes
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _line(child: Process, end: float) -> bytes:
    """Return the next line of a child, nothing where there is none, or `_LATE`."""
    assert child.stdout is not None, "it is a pipe"
    try:
        async with asyncio.timeout_at(end):
            if not (line := await child.stdout.readline()):
                await child.wait()  # to know how it ended: one that is killed now loses its status
            return line
    except TimeoutError:
        return _LATE


def _note(outcome: Outcome) -> None:
    """Keep in the log where the guard let nobody go: the child's own lines are read by nobody."""
    if isinstance(outcome, WebFailure) and outcome.reason is WebFailureReason.blocked:
        log.info("address blocked", url=cut(outcome.url), why=outcome.message)


def _asked(outcome: Outcome) -> str:
    return outcome.requested_url if isinstance(outcome, ReadPage) else outcome.url


def _tail(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - TOLD))
    return file.read().decode(errors="replace")
