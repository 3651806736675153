"""The chat dashboard while answers of the API are slow: nothing lands in another conversation."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from lab.client import Lab, connect
from lab.evals.serving import serving
from lab.messages import text_of
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.widgets import ChatDashboard
from lab.widgets import chat as chat_module
from tests.api_server import Api
from tests.pictures import png

pytestmark = pytest.mark.integration

CREATE = "POST /v1/conversations"


class Gate:
    """The API behind a gate that holds some requests back until it opens."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held = re.compile("(?!)")
        self._open = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = f"{scope['method']} {scope['path']}"
        if self._held.fullmatch(request):
            self._held = re.compile("(?!)")
            self.reached.set()
            await self._open.wait()
        await self._app(scope, receive, send)

    @contextmanager
    def holding(self, request: str) -> Iterator[None]:
        """Hold the next such request until the end of the block."""
        self._held = re.compile(request)
        self._open.clear()
        self.reached.clear()
        yield
        self._open.set()


@pytest.fixture
def gate(api: Api) -> Gate:
    return Gate(api.app)


@pytest.fixture
async def lab(gate: Gate, ann: str) -> AsyncIterator[Lab]:
    async with serving(gate) as url, connect(url, ann) as lab:
        yield lab


@pytest.fixture
async def page(lab: Lab) -> "Page":
    page = Page(ChatDashboard(lab, profile="lab-tiny"))
    page.does("look", conversation="")
    await page.until(lambda: page.chat.ready)
    return page


class Page:
    """The dashboard as its page in a browser drives it."""

    def __init__(self, chat: ChatDashboard) -> None:
        self.chat = chat

    def does(self, action: str, *buffers: bytes, **values: str | int) -> None:
        """Tell the dashboard what a person does."""
        sent = [memoryview(buffer) for buffer in buffers]
        self.chat._handle_custom_msg({"action": action, **values}, sent)

    def attaches(self, key: str, content: bytes) -> None:
        """Choose a picture."""
        self.does("attach", content, key=key, name=f"{key}.png", n_bytes=len(content))

    def keys(self) -> list[str]:
        """Return what is attached."""
        return [attached["key"] for attached in self.chat.attached]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)

    async def until_answered(self) -> None:
        """Wait until nothing that was sent waits for its answer any more."""
        await self.until(lambda: not self.chat._replies and not self.chat.busy)

    async def until_idle(self) -> None:
        """Wait until the dashboard asks the lab nothing any more."""
        await self.until(
            lambda: (
                not any("ChatDashboard." in repr(task.get_coro()) for task in asyncio.all_tasks())
            )
        )

    def roles(self) -> list[str]:
        return [message["role"] for message in self.chat.messages]


async def said(lab: Lab, conversation: str | UUID) -> list[str]:
    """Return what people said in a stored conversation."""
    messages = await lab.conversations.messages(UUID(str(conversation)))
    return [text_of(m.parts) for m in messages if m.role is Role.user]


async def conversation_of(lab: Lab, *texts: str) -> str:
    """Return a conversation in which somebody said this."""
    made = await lab.conversations.create("Older")
    if texts:
        messages = [ChatMessage(role=Role.user, content=text) for text in texts]
        await lab.conversations.add(made.id, messages)
    return str(made.id)


async def test_a_first_message_stays_out_of_a_conversation_that_is_opened_meanwhile(
    gate: Gate, lab: Lab, page: Page
) -> None:
    other = await conversation_of(lab)

    with gate.holding(CREATE):
        page.does("send", text="My dog is called Zamiko.")
        await gate.reached.wait()
        assert page.chat.busy
        assert page.roles() == ["user"]
        page.does("open", id=other)
        await page.until(lambda: page.chat.conversation == other)
        assert not page.chat.busy
    await page.until(lambda: len(page.chat.conversations) == 2)
    await page.until_answered()

    (new,) = (c["id"] for c in page.chat.conversations if c["id"] != other)
    assert await said(lab, new) == ["My dog is called Zamiko."]
    assert await said(lab, other) == []
    assert (page.chat.conversation, page.chat.messages) == (other, [])


async def test_a_chat_that_is_begun_meanwhile_stays_open(gate: Gate, lab: Lab, page: Page) -> None:
    with gate.holding(CREATE):
        page.does("send", text="My dog is called Zamiko.")
        await gate.reached.wait()
        page.does("new")
        await page.until(lambda: not page.chat.busy)
    await page.until(lambda: page.chat.conversations)
    await page.until_answered()

    assert (page.chat.conversation, page.chat.messages) == ("", [])


async def test_a_second_enter_makes_no_second_conversation(
    gate: Gate, lab: Lab, page: Page
) -> None:
    with gate.holding(CREATE):
        page.does("send", text="My dog is called Zamiko.")
        page.does("send", text="My dog is called Zamiko.")
        await gate.reached.wait()
    await page.until(lambda: page.chat.conversation)
    await page.until_answered()

    (conversation,) = await lab.conversations.list()
    assert await said(lab, conversation.id) == ["My dog is called Zamiko."]
    assert page.chat.conversation == str(conversation.id)
    assert page.roles() == ["user", "assistant"]


async def test_the_conversation_that_was_clicked_last_is_shown(
    gate: Gate, lab: Lab, page: Page
) -> None:
    slow = await conversation_of(lab, "slow")
    quick = await conversation_of(lab, "quick")

    with gate.holding(f"GET /v1/conversations/{slow}/messages"):
        page.does("open", id=slow)
        await gate.reached.wait()
        page.does("open", id=quick)
        await page.until(lambda: page.chat.conversation == quick)
    await page.until(lambda: not page.chat._running)

    assert page.chat.conversation == quick
    assert "quick" in page.chat.messages[0]["html"]


async def test_earlier_messages_stay_out_of_another_conversation(
    gate: Gate, lab: Lab, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_module, "PAGE", 2)
    long = await conversation_of(lab, "one", "two", "three", "four")
    other = await conversation_of(lab, "other")
    page.does("open", id=long)
    await page.until(lambda: page.chat.has_earlier)

    with gate.holding(f"GET /v1/conversations/{long}/messages"):
        page.does("earlier")
        await gate.reached.wait()
        page.does("open", id=other)
        await page.until(lambda: page.chat.conversation == other)
    await page.until(lambda: not page.chat._running)

    assert len(page.chat.messages) == 1
    assert not page.chat.has_earlier
    page.does("open", id=long)
    await page.until(lambda: page.chat.has_earlier)
    page.does("earlier")
    page.does("earlier")
    await page.until(lambda: not page.chat._running)
    assert len(page.chat.messages) == 4


async def test_what_was_refused_and_is_tried_again_stands_there_once(lab: Lab, page: Page) -> None:
    question = "word " * 3000

    page.does("send", text=question)
    await page.until(lambda: page.chat.problem)
    await page.until_answered()
    page.does("retry")
    await page.until(lambda: not page.chat.problem)
    await page.until(lambda: page.chat.problem)
    await page.until_answered()

    assert "the window holds 1024" in page.chat.problem["text"]
    assert page.roles() == ["user"]
    assert len(await said(lab, page.chat.conversation)) == 1


async def test_a_page_begins_with_the_users_primary_profile_and_offers_their_own(lab: Lab) -> None:
    await lab.profiles.add("brief", "lab-tiny", parameters={"max_new_tokens": 2})
    await lab.use("brief")
    page = Page(ChatDashboard(lab))

    page.does("look", conversation="")
    await page.until(lambda: page.chat.ready)
    page.does("send", text="Hello.")
    await page.until(lambda: len(page.chat.messages) == 2)

    assert page.chat.profile == "brief"
    assert [p["id"] for p in page.chat.profiles] == ["default", "lab-tiny", "brief"]
    (used,) = await lab.usage()
    assert used.completion_tokens == 2


async def test_only_pictures_are_attached_and_only_so_many_bytes(page: Page) -> None:
    page.attaches("red", png(8, 8))
    page.attaches("blue", png(8, 8, color="blue"))
    await page.until(lambda: page.keys() == ["red", "blue"])
    page.does("detach", key="red")
    await page.until(lambda: page.keys() == ["blue"])
    page.attaches("text", b"hello")
    await page.until(lambda: page.chat.problem)
    assert "`text.png`: the bytes are no picture" in page.chat.problem["text"]
    page.does("attach", key="large", name="large.png", n_bytes=7_000_000)
    await page.until(lambda: "`large.png` has 7,000,000 bytes with" in page.chat.problem["text"])
    assert page.keys() == ["blue"]


async def test_a_picture_that_was_refused_is_sent_again(lab: Lab, page: Page) -> None:
    page.attaches("red", png(8, 8))
    await page.until(page.keys)
    page.does("send", text="What is this?")
    await page.until(lambda: page.chat.problem)

    assert "`lab-tiny` reads text only, and 1 pictures came" in page.chat.problem["text"]
    assert page.chat.messages[0]["pictures"] == ["red"]
    assert page.keys() == []
    assert await said(lab, page.chat.conversation) == []
    page.does("dismiss")
    page.does("retry")
    await page.until(lambda: page.chat.problem)
    assert "1 pictures came" in page.chat.problem["text"]


async def test_an_answer_that_is_being_written_is_shown_by_a_page_that_is_loaded_anew(
    endless_api: Api, ann: str
) -> None:
    async with connect(endless_api.url, ann) as lab:
        chat = (await lab.conversations.create("Older")).id
        answer = lab.stream(
            "Talk.", conversation=chat, on_disconnect="continue", max_new_tokens=8000
        )
        await anext(answer)
        await answer.aclose()
        page = Page(ChatDashboard(lab, conversation=str(chat)))
        page.does("look", conversation="")
        await page.until(lambda: page.chat.live)
        roles = page.roles()
        page.does("stop")
        await page.until_answered()
        await page.until_idle()  # it asks for the conversations once more

    assert (roles, page.roles()) == (["user"], ["user", "assistant"])


async def test_a_chat_goes_on_from_an_earlier_answer_in_another_one(lab: Lab, page: Page) -> None:
    for text in ("My dog is called Zamiko.", "I live in Belora."):
        page.does("send", text=text)
        await page.until(lambda: page.chat.busy)
        await page.until_answered()
    source = page.chat.conversation
    answer = page.chat.messages[1]["id"]

    page.does("fork", id=answer)
    await page.until(lambda: page.chat.conversation not in {"", source})
    fork = page.chat.conversation

    assert page.roles() == ["user", "assistant"]
    assert fork in {c["id"] for c in page.chat.conversations}
    page.does("send", text="I live in Rome.")
    await page.until(lambda: page.chat.busy)
    await page.until_answered()
    assert await said(lab, fork) == ["My dog is called Zamiko.", "I live in Rome."]
    assert await said(lab, source) == ["My dog is called Zamiko.", "I live in Belora."]
