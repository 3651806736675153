"""Research as a person does it in the dashboard."""

import pytest
from playwright.async_api import Page, expect

from lab.schemas.run_status import RunStatus
from tests.browser.visit import Person

RESEARCH = "/services/dashboards/voila/render/research.ipynb"

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


@pytest.mark.parametrize("how", ["paused", "cancelled"])
async def test_what_was_stopped_is_gone_on_with_by_a_button(
    page: Page, person: Person, how: str
) -> None:
    question = f"Which lamp of the lighthouse was {how}?"
    async with person.lab() as lab:
        task = await lab.research.start(question)
        assert task.run_id is not None
        await (lab.runs.pause if how == "paused" else lab.runs.cancel)(task.run_id)

    await page.goto(RESEARCH)
    listed = page.get_by_role("listitem").filter(has_text=question)
    await listed.get_by_role("button", name=question, exact=True).click()
    head = page.locator(".lab-research-head")
    await expect(head).to_contain_text("interrupted" if how == "paused" else "cancelled")
    await expect(head.get_by_role("button", name="Cancel")).to_have_count(0)
    await head.get_by_role("button", name="Resume").click()

    report = page.get_by_role("article")
    await expect(report.get_by_role("heading", level=1)).to_contain_text(question)
    await expect(head).to_contain_text("completed")
    await expect(head.get_by_role("button")).to_have_count(0)
    await expect(listed).to_contain_text("completed")
    async with person.lab() as lab:
        (run,) = [one for one in await lab.runs.list() if one.resumes == task.run_id]
        assert run.status is RunStatus.completed
        await lab.research.delete(task.id)
