"""Research as a person does it in the dashboard."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.visit import Person

pytestmark = pytest.mark.browser


async def test_a_question_is_asked_and_forgotten(page: Page, person: Person) -> None:
    """The lab of these tests has read nothing, and may go nowhere: the report says so."""
    await page.goto("/hub/home")
    await page.get_by_role("link", name="Research").click()
    field = page.get_by_role("textbox", name="Question")
    await field.fill("When was the lighthouse of Norderhaven lit?")
    await page.get_by_role("button", name="Research", exact=True).click()

    report = page.get_by_role("article")
    await expect(report.get_by_role("heading", level=1)).to_contain_text(
        "lighthouse of Norderhaven"
    )
    await expect(report).to_contain_text("Nothing that was read answers the question")
    await expect(report).to_contain_text("No page was found: name search engines")
    listed = page.get_by_role("list", name="Former research").get_by_role("listitem")
    await expect(listed).to_contain_text("completed")
    await page.get_by_role("button", name="Delete When was").click()
    await expect(listed).to_have_count(0)
    async with person.lab() as lab:
        assert await lab.research.list() == []
