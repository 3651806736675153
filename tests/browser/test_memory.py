"""Who holds which memory, as a person watches it."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.visit import Person

pytestmark = pytest.mark.browser


async def test_the_page_follows_what_happens(page: Page, person: Person) -> None:
    async with person.lab() as lab:
        await lab.chat("Hello.", max_new_tokens=2)
        await page.goto("/hub/home")
        await page.get_by_role("link", name="Memory").click()

        rows = page.get_by_role("row")
        await expect(rows.filter(has_text="lab-tiny")).to_contain_text("no, for")
        await expect(rows.filter(has_text="all-MiniLM-L6-v2")).to_contain_text("pinned")
        async with lab.lease(gb=0.25, purpose="training"):
            await expect(rows.filter(has_text="training-")).to_contain_text("250.0 MB")
        await expect(rows.filter(has_text="training-")).to_have_count(0)
        await expect(page.get_by_role("listitem").first).to_contain_text("its lease ended")
