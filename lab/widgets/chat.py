"""The chat dashboard: conversations, streamed answers and their receipts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any
from uuid import UUID

from lab.client import Lab
from lab.errors import LabError, NotFoundError
from lab.messages import text_of
from lab.schemas.image_part import ImagePart
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.run_status import RunStatus
from lab.schemas.task import Task
from lab.schemas.tool_call import ToolCall
from lab.widgets.parts import parts_html, waiting_html
from lab.widgets.pictures import Attached, Pictures
from lab.widgets.receipt import receipt_html
from lab.widgets.reply import Reply, waiting_calls
from lab.widgets.view import ChatView

FRAME_S = 0.05
"""Time between two drawings of an answer."""

PAGE = 60
"""Messages loaded at a time."""

LISTED = 200
"""Most conversations in the list."""

TITLE_WAITS_S = (0.5, 1.5, 4.0)
"""When to look for the title that the lab writes after the first exchange."""


class ChatDashboard(ChatView):
    """
    Chat with the lab's models, in JupyterLab and in Voilà.

    Make it in a cell: it works on the kernel's event loop.

    Parameters
    ----------
    lab : Lab
        From `lab.connect()`.
    conversation : str, optional
        Id of the conversation to open; the one used last otherwise.
    profile : str, optional
        Profile that answers; the user's primary one otherwise.
    """

    def __init__(
        self, lab: Lab, *, conversation: str | None = None, profile: str | None = None
    ) -> None:
        super().__init__(profile=profile or "")
        self._lab = lab
        self._first = conversation
        self._replies: dict[UUID, Reply] = {}
        # The one that the page shows; a first message has no conversation for a while.
        self._reply: Reply | None = None
        # Replaced by whatever changes the page: what was loaded for an older one came too late.
        self._wanted = object()
        self._failed: Reply | None = None
        self._pictures = Pictures()
        self._earliest = 0
        # JupyterLab's messages may arrive in another thread; everything is done on this loop.
        self._loop = asyncio.get_running_loop()
        self._running: set[Future[None]] = set()
        self._actions: dict[str, Callable[..., Awaitable[None]]] = {
            "look": self._look,
            "new": self._new,
            "open": self._open,
            "earlier": self._show_earlier,
            "attach": self._attach,
            "detach": self._detach,
            "picture": self._fetch_picture,
            "send": self._ask,
            "stop": self._stop,
            "retry": self._retry,
            "dismiss": self._dismiss,
            "rename": self._rename,
            "delete": self._delete,
            "choose": self._choose,
            "receipt": self._fetch_receipt,
            "rejoin": self._rejoin,
            "fork": self._fork,
            "decide": self._decide,
        }
        self.on_msg(self._told)

    def _told(
        self, _widget: object, content: dict[str, Any], buffers: Sequence[memoryview]
    ) -> None:
        """Do what a person asked for."""
        values = content | ({"content": bytes(buffers[0])} if buffers else {})
        future = asyncio.run_coroutine_threadsafe(self._act(**values), self._loop)
        self._running.add(future)
        future.add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        self._running.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            self._loop.call_soon_threadsafe(
                self.show_problem, f"The dashboard failed: {type(error).__name__}: {error}"
            )

    async def _act(self, action: str, **values: Any) -> None:
        try:
            await self._actions[action](**values)
        except LabError as error:
            self.show_problem(str(error), retry=not self.ready)

    async def _look(self, conversation: str) -> None:
        """Load what the page shows first; `conversation` is what this browser had open."""
        if self.ready:
            return
        self.problem = {}
        self.person = (await self._lab.me()).user.name
        self.profiles = [
            {
                "id": p.id,
                "model": p.model,
                "description": p.description,
                "is_demo": p.is_demo,
                "sees": p.vision,
            }
            for p in await self._lab.models()
            if p.task is Task.chat
        ]
        (primary,) = await self._lab.config.explain("roles.primary")
        self.profile = self.profile or primary.value or self.profiles[0]["id"]
        await self._refresh()
        wanted = [self._first, conversation, *(c["id"] for c in self.conversations)]
        await self._open_first([id_ for id_ in wanted if id_])
        self.ready = True

    async def _open_first(self, ids: list[str]) -> None:
        """Open the first of the conversations that is still there."""
        for id_ in ids:
            try:
                return await self._open(id_)
            except NotFoundError:
                continue

    async def _refresh(self) -> None:
        found = await self._lab.conversations.list(limit=LISTED)
        self.conversations = [
            {"id": str(c.id), "title": c.title, "updated_at": c.updated_at.isoformat()}
            for c in found
        ]

    async def _new(self) -> None:
        self._show("", [])

    async def _open(self, id: str) -> None:
        self._wanted = wanted = object()
        running, waiting = await self._last_run_of(UUID(id))
        messages = await self._lab.conversations.messages(UUID(id), limit=PAGE)
        if self._wanted is not wanted:
            return
        self._show(id, messages)
        self.question = waiting
        answered = {m.run_id for m in messages if m.role is Role.assistant}
        if running is not None and running not in answered:
            asked = next((m for m in messages if m.run_id == running), None)
            question = text_of(asked.parts) if asked else ""
            found = {"conversation": id, "run_id": str(running), "question": question}
            self._told(self, {"action": "rejoin", **found}, ())

    async def _last_run_of(self, id_: UUID) -> tuple[UUID | None, dict[str, str]]:
        """Return the run that answers in a conversation, begun by a page that is gone, or asks."""
        if id_ in self._replies:
            return None, {}
        for run in await self._lab.runs.list(1, conversation=id_):
            if run.finished_at is None:
                return run.id, {}
            if run.status is RunStatus.interrupted:
                async with aclosing(self._lab.runs.follow(run.id)) as events:
                    calls = [call async for event in events for call in waiting_calls(event)]
                return None, _question(run.id, calls)
        return None, {}

    async def _decide(self, run_id: str, approve: bool) -> None:
        """Allow calls of tools that wait, or not, and draw how the answer goes on."""
        if self._reply is not None:
            return
        conversation, self.question = UUID(self.conversation), {}
        run = await self._lab.runs.resume(UUID(run_id), {"approve": approve})
        reply = Reply(conversation, "", run_id=run.id)
        if self.conversation == str(conversation):
            await self._answer(reply)

    async def _fork(self, id: str) -> None:
        """Open a conversation with the messages up to one, and go on there."""
        fork = await self._lab.conversations.fork(UUID(self.conversation), UUID(id))
        await self._refresh()
        await self._open(str(fork.id))

    async def _rejoin(self, conversation: str, run_id: str, question: str) -> None:
        """Draw an answer that streams already, while its conversation is open."""
        if conversation == self.conversation:
            await self._answer(Reply(UUID(conversation), question, run_id=UUID(run_id)))

    def _show(self, id_: str, messages: list[Message]) -> None:
        self._wanted = object()
        self._pictures.forget()
        self._reply = self._replies.get(UUID(id_)) if id_ else None
        with self.hold_sync():
            self.problem = {}
            self.question = {}
            self.conversation = id_
            self.messages = [_bubble(message) for message in messages]
            self._set_earliest(messages)
            self._draw()

    def _set_earliest(self, messages: list[Message]) -> None:
        self._earliest = messages[0].position if messages else 0
        self.has_earlier = self._earliest > 0

    async def _show_earlier(self) -> None:
        asked = (self.conversation, self._earliest)
        found = await self._lab.conversations.messages(
            UUID(self.conversation), limit=PAGE, before_position=self._earliest
        )
        if asked != (self.conversation, self._earliest):
            return
        with self.hold_sync():
            self.messages = [*map(_bubble, found), *self.messages]
            self._set_earliest(found)

    async def _ask(self, text: str) -> None:
        """Ask in the open conversation, or begin one."""
        if self._reply is not None:
            return
        pictures = self._pictures.take()
        self.attached = self._pictures.waiting
        conversation = UUID(self.conversation) if self.conversation else None
        await self._answer(Reply(conversation, text, pictures))

    async def _attach(self, key: str, name: str, n_bytes: int, content: bytes = b"") -> None:
        self._pictures.attach(Attached(key, name, content), n_bytes)
        self.attached = self._pictures.waiting

    async def _detach(self, key: str) -> None:
        self._pictures.detach(key)
        self.attached = self._pictures.waiting

    async def _fetch_picture(self, key: str) -> None:
        content = self._pictures.find(key)
        self.show_picture(key, content or await self._lab.files.content(UUID(key)))

    async def _answer(self, reply: Reply) -> None:
        """Draw an answer while it streams; an open conversation has one at a time."""
        if self._reply is not None:
            return
        self._reply = reply
        is_new = reply.conversation_id is None
        if reply.conversation_id is not None:
            self._replies[reply.conversation_id] = reply
        with self.hold_sync():
            self.problem = {}
            self.question = {}
            if not reply.run_id:
                self.messages = [*self.messages, reply.asked]
            self._draw()
        reply.task = asyncio.create_task(self._follow(reply))
        drawing = asyncio.create_task(self._draw_regularly(reply))
        try:
            await asyncio.wait({reply.task})
        finally:
            drawing.cancel()
            self._conclude(reply)
        if not reply.task.cancelled():
            reply.task.result()
        await self._refresh()
        if is_new and reply.conversation_id is not None:
            await self._await_title(str(reply.conversation_id))

    async def _begin(self, reply: Reply) -> UUID:
        """Make the conversation of a first message; who looks elsewhere by now stays there."""
        id_ = (await self._lab.conversations.create()).id
        reply.conversation_id = id_
        self._replies[id_] = reply
        if self._reply is reply:
            self.conversation = str(id_)
        await self._refresh()
        return id_

    async def _withdraw(self, failed: Reply) -> None:
        """Delete what a failed answer stored."""
        if (id_ := failed.conversation_id) is None:
            return
        for message in failed.left(await self._lab.conversations.messages(id_, limit=PAGE)):
            await self._lab.conversations.delete_message(id_, message.id)

    async def _follow(self, reply: Reply) -> None:
        profile = self.profile
        try:
            if reply.instead_of:
                await self._withdraw(reply.instead_of)
                reply.instead_of = None
            id_ = reply.conversation_id or await self._begin(reply)
            if reply.run_id:
                events = self._lab.runs.follow(reply.run_id)
            else:
                events = self._lab.stream(
                    reply.question,
                    conversation=id_,
                    model=profile,
                    images=[picture.content for picture in reply.pictures],
                    on_disconnect="continue",
                )
            async with aclosing(events):
                async for event in events:
                    reply.add(event)
        except LabError as error:
            reply.problem = str(error)

    async def _draw_regularly(self, reply: Reply) -> None:
        while True:
            await asyncio.sleep(FRAME_S)
            if reply.changed:
                reply.changed = False
                self._draw()

    def _draw(self) -> None:
        """Show the answer that streams in the open conversation, if one does."""
        self.busy = self._reply is not None
        self.live = self._reply.html if self._reply else ""

    def _conclude(self, reply: Reply) -> None:
        """Put the answer, whole or not, among the messages."""
        if reply.conversation_id is not None:
            self._replies.pop(reply.conversation_id, None)
        if self._reply is not reply:
            return
        self._reply = None
        with self.hold_sync():
            self._draw()
            if reply.calls and reply.run_id:  # what was said before comes again when it goes on
                self.question = _question(reply.run_id, reply.calls)
            elif reply.html:
                self.messages = [*self.messages, reply.bubble()]
            if reply.problem:
                self._failed = reply
                self.show_problem(reply.problem, retry=True)

    async def _await_title(self, id_: str) -> None:
        """Show the title that the lab writes in the background."""
        given = self._title(id_)
        for wait_s in TITLE_WAITS_S:
            await asyncio.sleep(wait_s)
            await self._refresh()
            if self._title(id_) != given:
                return

    def _title(self, id_: str) -> str | None:
        return next((c["title"] for c in self.conversations if c["id"] == id_), None)

    async def _stop(self) -> None:
        if self._reply is None or self._reply.task is None:
            return
        if self._reply.run_id is not None:
            await self._lab.runs.cancel(self._reply.run_id)
        else:
            self._reply.task.cancel()

    async def _retry(self) -> None:
        """Ask again, in the place of what failed."""
        failed, self._failed = self._failed, None
        if failed is None:
            return await self._look("")
        gone = {failed.asked["id"], failed.bubble()["id"]}
        self.messages = [message for message in self.messages if message["id"] not in gone]
        await self._answer(
            Reply(
                failed.conversation_id,
                failed.question,
                failed.pictures,
                instead_of=failed.instead_of or failed,
            )
        )

    async def _dismiss(self) -> None:
        self.problem = {}

    async def _rename(self, id: str, title: str) -> None:
        await self._lab.conversations.rename(UUID(id), title)
        await self._refresh()

    async def _delete(self, id: str) -> None:
        await self._lab.conversations.delete(UUID(id))
        if id == self.conversation:
            self._show("", [])
        await self._refresh()

    async def _choose(self, profile: str) -> None:
        self.profile = profile

    async def _fetch_receipt(self, run_id: str) -> None:
        run = await self._lab.runs.get(UUID(run_id))
        self.show_receipt(run_id, receipt_html(run))


def _question(run_id: UUID, calls: Sequence[ToolCall]) -> dict[str, str]:
    """Return what the page asks about calls that wait; nothing where none does."""
    return {"run_id": str(run_id), "html": waiting_html(calls)} if calls else {}


def _bubble(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "role": message.role.value,
        "html": parts_html(message.parts),
        "run_id": str(message.run_id or ""),
        "pictures": [str(p.file_id) for p in message.parts if isinstance(p, ImagePart)],
    }
