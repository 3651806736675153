"""Pictures in the chat dashboard, of a model that sees."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, expect

from lab.client import connect
from tests.browser.chat import Chat
from tests.pictures import png
from tests.stack import RunningStack
from tests.tiny_vision import save_llava

pytestmark = pytest.mark.browser

WIDTH = """
image => new Promise(done => {
  const look = () => image.naturalWidth ? done(image.naturalWidth) : setTimeout(look, 20);
  look(); // pictures of the conversation are asked for once they are seen
})
"""


@pytest.fixture(scope="module")
async def sees(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Return the name of a model that sees."""
    folder = save_llava(tmp_path_factory.mktemp("models") / "llava")
    async with stack.visitor(stack.admin, stack.password) as admin:
        token = await admin.token()
    async with connect(f"{stack.url}/services/api", token) as lab:
        yield (await lab.catalog.add(str(folder))).id
        await lab.catalog.remove("llava")


async def widths(pictures: Locator) -> list[int]:
    """Return how wide pictures are of themselves."""
    return [await one.evaluate(WIDTH) for one in await pictures.all()]


async def test_pictures_are_attached_removed_sent_and_kept(sees: str, chat: Chat) -> None:
    await chat.models.select_option(sees)
    await chat.choose(red=png(30, 20), blue=png(40, 20, color="blue"), green=png(50, 20))
    await expect(chat.attached).to_have_count(3)
    assert await widths(chat.attached.get_by_role("img")) == [30, 40, 50]
    await chat.page.get_by_role("button", name="Remove blue.png").click()
    await expect(chat.attached).to_have_count(2)
    await chat.ask("ka mi to")

    await expect(chat.attached).to_have_count(0)
    assert await widths(chat.questions.get_by_role("img")) == [30, 50]
    await chat.page.reload()
    await expect(chat.questions.get_by_role("img")).to_have_count(2)
    assert await widths(chat.questions.get_by_role("img")) == [30, 50]


async def test_what_is_no_picture_is_refused_where_it_is_chosen(sees: str, chat: Chat) -> None:
    await chat.models.select_option(sees)
    await chat.choose(notes=b"hello")
    await expect(chat.problem).to_contain_text("notes.png: the bytes are no picture")
    await chat.page.get_by_role("button", name="Dismiss", exact=True).click()
    await chat.choose(large=bytes(8_000_000))
    await expect(chat.problem).to_contain_text("large.png has 8,000,000 bytes")
    await expect(chat.attached).to_have_count(0)

    await chat.models.select_option("lab-tiny")
    await expect(chat.attach).to_be_disabled()
    await expect(chat.attach).to_have_attribute("title", "lab-tiny reads text only")
