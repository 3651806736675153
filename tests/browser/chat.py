"""The chat as a person finds it on a page: by what is written there."""

from playwright.async_api import FilePayload, Locator, Page, expect

CHAT = "/services/dashboards/voila/render/chat.ipynb"
LONGER = "([node, length]) => node.textContent.length > length"


class Chat:
    """
    The chat on a page of its own, or in a cell of a notebook.

    Parameters
    ----------
    page : Page
        Where it is.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.heading = page.locator(".lab-heading")
        self.note = page.locator(".lab-note")
        self.welcome = page.get_by_role("heading", name="Tell me something to remember")
        self.conversations = page.get_by_role("navigation", name="Conversations")
        self.questions = page.locator(".lab-said .lab-user")
        self.answers = page.locator(".lab-said .lab-assistant")
        self.growing = page.locator(".lab-live .lab-body")
        self.problem = page.get_by_role("alert")
        self.models = page.get_by_role("combobox", name="Model")
        self.box = page.get_by_role("textbox", name="Message")
        self.attach = page.get_by_role("button", name="Attach pictures")
        self.attached = page.get_by_role("list", name="Attached pictures").get_by_role("listitem")
        self.send = page.get_by_role("button", name="Send")
        self.stop = page.get_by_role("button", name="Stop answering")

    async def begin(self) -> None:
        """Start a new conversation."""
        await self.conversations.get_by_role("button", name="New chat", exact=True).click()
        await expect(self.welcome).to_be_visible()

    async def choose(self, **pictures: bytes) -> None:
        """Choose files for the next message, each called by its keyword."""
        async with self.page.expect_file_chooser() as opened:
            await self.attach.click()
        files: list[FilePayload] = [
            {"name": f"{name}.png", "mimeType": "image/png", "buffer": content}
            for name, content in pictures.items()
        ]
        await (await opened.value).set_files(files)

    async def say(self, text: str) -> int:
        """Send a message; return how many answers stood there before."""
        await self.box.fill(text)
        await expect(self.send).to_be_enabled()
        n_answers = await self.answers.count()
        await self.box.press("Enter")
        return n_answers

    async def ask(self, text: str) -> str:
        """Send a message and return the answer when it is whole."""
        n_answers = await self.say(text)
        await expect(self.answers).to_have_count(n_answers + 1)
        return await self.text_of(self.answers.last)

    async def text_of(self, message: Locator) -> str:
        """Return what a message says, without what is folded under it."""
        return await message.locator(".lab-body").inner_text()

    async def until_longer(self) -> str:
        """Wait until the answer that streams has grown; return it so far."""
        node = await self.growing.element_handle()
        before = await self.growing.text_content() or ""
        await self.page.wait_for_function(LONGER, arg=[node, len(before)])
        return await self.growing.text_content() or ""

    async def open_receipt(self, answer: Locator) -> Locator:
        """Open the receipt under an answer and return it, filled."""
        await answer.get_by_text("What the model saw").click()
        receipt = answer.locator(".lab-receipt-body")
        await expect(receipt).to_contain_text("window")
        return receipt

    def listed(self, title: str) -> Locator:
        """Return a conversation in the list."""
        return self.conversations.get_by_role("listitem").filter(has_text=title)
