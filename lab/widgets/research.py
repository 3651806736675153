"""Research in a page: ask, see how far it is, read the report, open what it cites."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from anywidget import AnyWidget
from traitlets import Bool, Dict, List, Unicode

from lab.client import Lab
from lab.errors import LabError, NotFoundError
from lab.schemas.research_citation import ResearchCitation
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.research_task import ResearchTask
from lab.schemas.run_status import RunStatus
from lab.widgets.markdown import to_html
from lab.widgets.scripts import script

FOLDER = Path(__file__).parent

LISTED: Final = 50
"""Most tasks in the list."""
PER_QUESTION: Final = (Kind.search, Kind.gather, Kind.analyse)
"""Steps that each question has."""
OPEN: Final = (RunStatus.queued, RunStatus.running)

_CITED = re.compile(r"(?<!\\)\[(\d+)\]")
_BEGIN, _END = "\ue000", "\ue001"
"""Stand around the number of a source while Markdown becomes HTML."""
_MARKED = re.compile(f"{_BEGIN}(\\d+){_END}")


class ResearchDashboard(AnyWidget):
    """
    Ask for research and read what came of it.

    Make it in a cell: it works on the kernel's event loop.

    Parameters
    ----------
    lab : Lab
        From `lab.connect()`.
    """

    _esm = script("research.js")
    _css = FOLDER / "research.css"

    tasks: List[dict[str, str]] = List(
        help="`id`, `question`, `status` and `asked_at` of each task, newest first."
    ).tag(sync=True)
    task = Dict(help="`id`, `question`, `status` and `error` of the open one.").tag(sync=True)
    questions: List[dict[str, Any]] = List(
        help="Of the open one: each `question` with its `steps`, each a `kind` and its `status`."
    ).tag(sync=True)
    html = Unicode(help="Its report.").tag(sync=True)
    citations: List[dict[str, Any]] = List(help="What the report cites.").tag(sync=True)
    busy = Bool(False, help="Whether the open one goes on.").tag(sync=True)
    problem = Unicode(help="What went wrong.").tag(sync=True)

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        # JupyterLab's messages may arrive in another thread; everything is done on this loop.
        self._loop = asyncio.get_running_loop()
        self._running: set[Future[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._actions: dict[str, Callable[..., Awaitable[None]]] = {
            "look": self._look,
            "ask": self._ask,
            "open": self._open,
            "cancel": self._cancel,
            "resume": self._resume,
            "delete": self._delete,
        }
        self.on_msg(self._told)

    def _told(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        """Do what a person asked for."""
        future = asyncio.run_coroutine_threadsafe(self._act(**content), self._loop)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    async def _act(self, action: str, **values: str) -> None:
        self.problem = ""
        try:
            await self._actions[action](**values)
        except LabError as error:
            self.problem = str(error)

    async def _look(self) -> None:
        """Load the list, and open the newest."""
        await self._list()
        if self.tasks and not self.task:
            await self._open(self.tasks[0]["id"])

    async def _list(self) -> None:
        self.tasks = [_listed(task) for task in await self._lab.research.list(LISTED)]

    async def _ask(self, question: str) -> None:
        task = await self._lab.research.start(question)
        await self._list()
        await self._open(str(task.id))

    async def _open(self, id: str) -> None:
        if self._following is not None:
            self._following.cancel()
        details = await self._show(UUID(id))
        if details.task.status in OPEN:
            self._following = asyncio.create_task(self._follow(UUID(id)), name="research")

    async def _follow(self, task_id: UUID) -> None:
        """Show how far a task is until it ends."""
        try:
            async with aclosing(self._lab.research.follow(task_id)) as events:
                async for _ in events:
                    await self._show(task_id)
            await self._show(task_id)
            await self._list()
        except NotFoundError:  # somebody deleted it
            await self._list()
        except LabError as error:
            self.problem = str(error)

    async def _show(self, task_id: UUID) -> ResearchDetails:
        details = await self._lab.research.get(task_id)
        report = await self._lab.research.report(task_id) if details.task.report else ""
        with self.hold_sync():
            self.task = {**_listed(details.task), "error": details.task.error or ""}
            self.questions = questions_of(details)
            self.busy = details.task.status in OPEN
            self.citations = [_cited(one) for one in details.citations]
            self.html = report_html(report)
        return details

    async def _cancel(self) -> None:
        await self._lab.research.cancel(UUID(self.task["id"]))
        await self._show(UUID(self.task["id"]))
        await self._list()

    async def _resume(self) -> None:
        await self._lab.research.resume(UUID(self.task["id"]))
        await self._open(self.task["id"])
        await self._list()

    async def _delete(self, id: str) -> None:
        await self._lab.research.delete(UUID(id))
        await self._list()
        if self.task.get("id") == id:
            with self.hold_sync():
                self.task, self.questions, self.citations, self.html = {}, [], [], ""
                self.busy = False


def questions_of(details: ResearchDetails) -> list[dict[str, Any]]:
    """Return the questions of a task with where their steps stand; the report is one of them."""
    shared = [s for s in details.steps if s.kind not in PER_QUESTION]
    rows: list[dict[str, Any]] = [
        {
            "question": "",
            "steps": [{"kind": s.kind.value, "status": s.status.value} for s in shared],
        }
    ]
    by_kind = [[s for s in details.steps if s.kind is kind] for kind in PER_QUESTION]
    for steps in zip(*by_kind, strict=True):
        rows.append(
            {
                "question": steps[0].question,
                "steps": [{"kind": s.kind.value, "status": s.status.value} for s in steps],
            }
        )
    return rows


def report_html(report: str) -> str:
    """
    Return a report as HTML in which each citation is a button.

    >>> print(report_html("It is so. [1] Not " + chr(92) + "[2]."))
    <p>It is so. <button type="button" class="lab-cite" data-number="1">[1]</button> Not [2].</p>
    <BLANKLINE>
    """
    plain = report.replace(_BEGIN, "").replace(_END, "")
    html = to_html(_CITED.sub(rf"{_BEGIN}\1{_END}", plain))
    button = r'<button type="button" class="lab-cite" data-number="\1">[\1]</button>'
    return _MARKED.sub(button, html)


def _listed(task: ResearchTask) -> dict[str, str]:
    return {
        "id": str(task.id),
        "question": task.question,
        "status": task.status.value,
        "asked_at": task.created_at.isoformat(),
    }


def _cited(citation: ResearchCitation) -> dict[str, Any]:
    return {
        **citation.model_dump(
            mode="json",
            include={"number", "claim", "url", "title", "quote", "start", "end", "sha256", "score"},
        ),
        "verified": citation.verified,
        "reason": citation.reason or "",
        "is_there": citation.page_id is not None,
    }
