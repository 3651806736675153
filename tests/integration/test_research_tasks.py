"""Tasks of research and their runs: lost databases, other labs, stale runs, places, replays."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from lab.client import Lab, connect
from lab.db import Database, EmbeddedPostgres, upgrade
from lab.errors import ConflictError, RateLimitError, UnknownModelError
from lab.pipelines.catalog import MINILM
from lab.schemas.event_type import EventType
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.run_status import RunStatus
from lab.workflows.research import service
from tests.api_server import Api, ann, bob, key_of, running_api
from tests.commands import command
from tests.database import OS_USER
from tests.integration.conftest import execute
from tests.integration.test_api_database_gone import new_key
from tests.integration.test_research import (
    World,
    app,
    check_citations,
    lab,
    silent_world,
    until,
    world,
)
from tests.ports import free_port
from tests.web import Asked, Page
from tests.web.lighthouse import LIT, QUESTION
from tests.web.server import Handler

__all__ = ["ann", "app", "bob", "lab", "silent_world", "world"]

pytestmark = pytest.mark.integration

TWO = f"{QUESTION} Who was the first keeper of the lighthouse of Norderhaven?"
AT_WORK_NO_MORE = "UPDATE runs SET status = 'running', finished_at = NULL, lab_number = -1"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_S", 0.2)


@pytest.fixture
def slow_engine(world: World) -> Iterator[None]:
    """Let each search take its time."""
    with answering(world, lambda _: time.sleep(1.5)):
        yield


@contextmanager
def answering(world: World, before: Callable[[str], Page | None]) -> Iterator[None]:
    """Let something be said to a question, or be done, before the engine answers."""
    kept = dict(world.engine.answers)

    def answer(asked: Asked, handler: Handler) -> Page | None:
        query = parse_qs(urlsplit(asked.path).query)["q"][0]
        engine = kept["/search"]
        assert not isinstance(engine, Page)
        return before(query) or engine(asked, handler)

    world.engine.answers["/search"] = answer
    try:
        yield
    finally:
        world.engine.answers.update(kept)


async def ended(lab: Lab, task_id: UUID, timeout_s: float = 60) -> ResearchDetails:
    """Wait until nobody works on a task."""
    async with asyncio.timeout(timeout_s):
        while True:
            details = await lab.research.get(task_id)
            if details.task.status not in (RunStatus.queued, RunStatus.running):
                return details
            await asyncio.sleep(0.05)


async def in_the_middle(lab: Lab, **limits: Any) -> UUID:
    """Return a task of which some pages are read, and which nobody works on."""
    task = await lab.research.start(QUESTION, **limits)
    await until(lab, task.id, Kind.gather, RunStatus.running)
    await lab.research.cancel(task.id)
    return task.id


@asynccontextmanager
async def other_lab(
    world: World, url: str, folder: Path, key: str, **variables: str
) -> AsyncIterator[Lab]:
    """Run a second lab on the database."""
    settings = {**world.settings(folder), **variables}
    async with running_api(url, **settings) as api, connect(api.url, key) as lab:
        yield lab


@pytest.mark.usefixtures("silent_world")
async def test_a_short_loss_of_the_database_leaves_nothing_running(world: World) -> None:
    with TemporaryDirectory(prefix="lab-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder / "postgres", free_port(), OS_USER)
        async with server.running():
            url = server.url()
            await upgrade(url)
            key = await new_key(url)
            variables = {**world.settings(folder / "data"), "LAB_DATABASE_CONNECT_TIMEOUT_S": "1"}
            async with running_api(url, **variables) as api, connect(api.url, key) as lab:
                task = await lab.research.start(QUESTION)
                await until(lab, task.id, Kind.gather, RunStatus.running)
                await server.stop()
                await asyncio.sleep(4)
                async with server.running():
                    lost = await ended(lab, task.id)
                    run = await lab.runs.get(task.run_id or task.id)
                    if lost.task.status is RunStatus.failed:  # else it was taken up before
                        assert "database" in (lost.task.error or "").lower()
                        await lab.research.resume(task.id)
                    details = await ended(lab, task.id)

    assert run.status in (RunStatus.failed, RunStatus.interrupted)
    assert details.task.status is RunStatus.completed
    assert LIT in (details.task.report or "")


async def test_a_run_that_nobody_could_end_is_gone_on_with(lab: Lab, database_url: str) -> None:
    first = await lab.research.ask(QUESTION, max_questions=1)
    await execute(
        database_url,
        "UPDATE runs SET status = 'running', finished_at = NULL",
        "UPDATE research_tasks SET status = 'running', finished_at = NULL",
    )

    details = await ended(lab, first.task.id)

    assert details.task.status is RunStatus.completed
    assert details.task.run_id != first.task.run_id
    assert details.steps == first.steps


@pytest.mark.usefixtures("silent_world")
async def test_what_a_lab_leaves_is_taken_up_while_another_runs(
    lab: Lab, database_url: str
) -> None:
    task_id = await in_the_middle(lab)

    await execute(database_url, AT_WORK_NO_MORE, "UPDATE research_tasks SET status = 'running'")
    details = await ended(lab, task_id)

    assert details.task.status is RunStatus.completed
    await check_citations(lab, details)


@pytest.mark.usefixtures("silent_world")
async def test_a_left_task_that_cannot_begin_fails_with_the_reason(
    lab: Lab, database_url: str
) -> None:
    task_id = await in_the_middle(lab)

    await execute(
        database_url,
        AT_WORK_NO_MORE,
        f"UPDATE research_tasks SET status = 'running', profile = '{MINILM}'",
    )
    details = await ended(lab, task_id)

    assert details.task.status is RunStatus.failed
    assert "cannot chat" in (details.task.error or "")


@pytest.mark.usefixtures("silent_world")
async def test_a_task_waits_for_a_lab_that_has_its_profile(
    lab: Lab, app: Api, world: World, ann: str, database_url: str, tmp_path: Path
) -> None:
    scholar = {"LAB_CHAT_PROFILES": json.dumps([{"id": "scholar", "model": "lab-tiny"}])}
    async with other_lab(world, database_url, tmp_path, ann, **scholar) as other:
        with pytest.raises(UnknownModelError, match="scholar"):
            await lab.research.start(QUESTION, model="scholar")
        task_id = (await other.research.start(QUESTION, model="scholar")).id
        await until(other, task_id, Kind.gather, RunStatus.running)
    waiting = await told_why(lab, task_id)
    await asyncio.sleep(1)
    still = await lab.research.get(task_id)
    _, shown = await command(app, ann, "research", "show", str(task_id))
    with pytest.raises(UnknownModelError, match="scholar"):
        await lab.research.resume(task_id)
    after_refusal = await lab.research.get(task_id)
    async with other_lab(world, database_url, tmp_path, ann, **scholar) as other:
        details = await ended(other, task_id)

    assert waiting.task.status is RunStatus.queued
    assert waiting.task.error == "It waits for a lab that has the profile `scholar`."
    assert RunStatus.running not in {step.status for step in waiting.steps}
    assert still == waiting == after_refusal
    assert "waits for a lab that has the profile `scholar`" in shown
    assert details.task.status is RunStatus.completed, details.task.error
    assert details.task.error is None
    done = {step.id: step for step in waiting.steps if step.status is RunStatus.completed}
    assert done
    assert {step.id: step for step in details.steps if step.id in done} == done


async def test_a_task_that_waits_for_its_lab_can_be_cancelled(lab: Lab, database_url: str) -> None:
    details = await lab.research.ask(QUESTION, max_questions=1, max_pages=1)
    await execute(
        database_url,
        "UPDATE research_tasks SET status = 'queued', profile = 'gone', run_id = NULL",
    )
    await told_why(lab, details.task.id)

    cancelled = await lab.research.cancel(details.task.id)

    assert (cancelled.status, cancelled.error) == (RunStatus.cancelled, None)


async def told_why(lab: Lab, task_id: UUID) -> ResearchDetails:
    """Wait until a task says why it waits."""
    async with asyncio.timeout(30):
        while not (details := await lab.research.get(task_id)).task.error:
            await asyncio.sleep(0.05)
        return details


@pytest.mark.usefixtures("silent_world")
@pytest.mark.parametrize("status", [RunStatus.cancelled, RunStatus.interrupted])
@pytest.mark.parametrize("by", ["another lab", "the dead"])
async def test_a_run_is_stopped_for_good_wherever_it_is(
    lab: Lab,
    world: World,
    ann: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: RunStatus,
    by: str,
) -> None:
    async with other_lab(world, database_url, tmp_path, ann) as other:
        if by == "the dead":
            monkeypatch.setattr(service, "LOOK_S", 3600)
            await asyncio.sleep(0.3)
            task_id = await in_the_middle(lab)
            await execute(
                database_url, AT_WORK_NO_MORE, "UPDATE research_tasks SET status = 'running'"
            )
        else:
            task_id = (await lab.research.start(QUESTION)).id
            await until(lab, task_id, Kind.gather, RunStatus.running)
        run_id = (await lab.research.get(task_id)).task.run_id
        assert run_id is not None

        stop = other.runs.cancel if status is RunStatus.cancelled else other.runs.pause
        run = await stop(run_id)
        at_once = await other.research.get(task_id)
        monkeypatch.setattr(service, "LOOK_S", 0.2)
        await asyncio.sleep(2)
        later = await other.research.get(task_id)

    assert (run.status, at_once.task.status) == (status, status)
    assert (later.task.status, later.task.run_id) == (status, run_id)
    assert RunStatus.running not in {step.status for step in later.steps}


@pytest.mark.usefixtures("silent_world")
async def test_a_stale_run_changes_nothing_of_the_one_that_goes_on(
    lab: Lab, world: World, ann: str, database_url: str, tmp_path: Path
) -> None:
    async with other_lab(world, database_url, tmp_path, ann) as other:
        task = await lab.research.start(QUESTION)
        await until(lab, task.id, Kind.gather, RunStatus.running)
        await other.research.cancel(task.id)
        gone_on = await other.research.resume(task.id)
        seen = set()
        async with asyncio.timeout(60):
            while (details := await lab.research.get(task.id)).task.status is RunStatus.running:
                seen |= {step.status for step in details.steps}
                await asyncio.sleep(0.02)
        assert task.run_id is not None
        first = await lab.runs.get(task.run_id)
        told = [event async for event in lab.runs.follow(task.run_id)]
        told_elsewhere = [event async for event in other.runs.follow(task.run_id)]
        await check_citations(other, details)

    assert first.status is RunStatus.cancelled
    assert told[-1].type is EventType.run_cancelled
    assert told_elsewhere == told
    assert seen <= {RunStatus.queued, RunStatus.running, RunStatus.completed}
    assert (details.task.status, details.task.run_id) == (RunStatus.completed, gone_on.run_id)


@pytest.mark.usefixtures("silent_world")
@pytest.mark.parametrize("status", [RunStatus.cancelled, RunStatus.interrupted])
async def test_the_stream_of_a_run_ends_as_its_row_does(
    lab: Lab, database_url: str, status: RunStatus
) -> None:
    """The lab's own work ends first: it finds the task stopped before it hears of its run."""
    task = await lab.research.start(QUESTION, max_questions=1)
    await until(lab, task.id, Kind.gather, RunStatus.running)
    assert task.run_id is not None
    async with aclosing(lab.runs.follow(task.run_id)) as live:
        await anext(live)
        ended_at = "finished_at = clock_timestamp()"
        await execute(
            database_url,
            f"UPDATE runs SET status = '{status}', {ended_at};"
            f"UPDATE research_tasks SET status = '{status}', {ended_at}, version = version + 1",
        )
        told = [event async for event in live]
    again = [event async for event in lab.runs.follow(task.run_id)]

    assert told[-1].type.value == f"run_{status}"
    assert again[1:] == told
    assert (await lab.runs.get(task.run_id)).status is status


@pytest.mark.usefixtures("silent_world")
async def test_two_labs_that_resume_at_once_are_one_that_does(
    lab: Lab, world: World, ann: str, database_url: str, tmp_path: Path
) -> None:
    async with other_lab(world, database_url, tmp_path, ann) as other:
        task_id = await in_the_middle(lab)
        await execute(database_url, "UPDATE research_tasks SET status = 'failed'")
        before = await lab.research.get(task_id)
        outcomes = await asyncio.gather(
            *(one.research.resume(task_id) for one in (lab, other) * 2), return_exceptions=True
        )
        details = await ended(lab, task_id)
        runs = await lab.runs.list()

    refused = [one for one in outcomes if isinstance(one, ConflictError)]
    done = {step.id: step for step in before.steps if step.status is RunStatus.completed}
    assert len(refused) == 3
    assert len(runs) == 2
    assert details.task.status is RunStatus.completed
    assert {step.id: step for step in details.steps if step.id in done} == done
    assert await execute(database_url, "SELECT FROM checkpoints") == []


@pytest.mark.usefixtures("silent_world")
async def test_limits_of_other_times_stop_neither_lists_nor_starts(
    lab: Lab, world: World, ann: str, database_url: str, tmp_path: Path
) -> None:
    task_id = await in_the_middle(lab, max_pages=3)
    old = """limits || '{"max_moons": 2, "at_once": 1000}'"""
    await execute(
        database_url,
        f"UPDATE research_tasks SET limits = {old}",
        AT_WORK_NO_MORE,
        "UPDATE research_tasks SET status = 'running'",
    )

    async with other_lab(world, database_url, tmp_path, ann) as other:
        (task,) = await other.research.list()
        details = await ended(other, task_id)

    assert (task.limits.max_pages, task.limits.at_once) == (3, 4)
    assert details.task.status is RunStatus.completed


@pytest.mark.usefixtures("silent_world")
async def test_pages_that_are_deleted_meanwhile_are_done_without(
    lab: Lab, database_url: str
) -> None:
    task = await lab.research.start(QUESTION, max_questions=1)
    async with asyncio.timeout(30):
        while not await lab.web.pages():
            await asyncio.sleep(0.02)
    await execute(
        database_url,
        "CREATE FUNCTION lose() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM web_pages; RETURN NEW; END $$",
        "CREATE TRIGGER lose BEFORE UPDATE ON research_steps FOR EACH ROW "
        "WHEN (NEW.kind = 'verify' AND NEW.status = 'completed') EXECUTE FUNCTION lose()",
    )
    try:
        details = await ended(lab, task.id)
    finally:
        await execute(database_url, "DROP TRIGGER lose ON research_steps", "DROP FUNCTION lose()")

    assert details.task.status is RunStatus.completed, details.task.error
    assert details.citations
    assert {one.page_id for one in details.citations} == {None}
    assert "## Deleted pages" in await lab.research.report(task.id)


@pytest.mark.usefixtures("silent_world")
async def test_a_search_that_failed_is_told_and_not_made_up_for_after_reading(
    lab: Lab, world: World, database_url: str
) -> None:
    broken = Page("broken", status=500)
    with answering(world, lambda query: broken if query.startswith("Who") else None):
        task = await lab.research.start(TWO)
        await until(lab, task.id, Kind.gather, RunStatus.running)
        await lab.research.cancel(task.id)
    await execute(database_url, "UPDATE research_tasks SET status = 'failed'")
    n_searched = len(world.engine.asked)

    await lab.research.resume(task.id)
    details = await ended(lab, task.id)

    failed = [step for step in details.steps if step.status is RunStatus.failed]
    assert [step.kind for step in failed] == [Kind.search]
    assert failed[0].error
    assert len(world.engine.asked) == n_searched
    assert details.task.status is RunStatus.completed
    limits = (details.task.report or "").split("## Limits")[1]
    assert "The search for “Who was the first keeper" in limits


async def test_a_search_that_took_too_long_is_told_and_not_replayed(lab: Lab) -> None:
    good = await lab.research.ask(QUESTION, max_questions=1)
    late = await lab.research.ask(QUESTION, max_questions=1, question_timeout_s=0.001)
    again = await lab.research.ask(QUESTION, max_questions=1, offline=True)

    (search,) = [step for step in late.steps if step.kind is Kind.search]
    assert search.error == "time was up"
    limits = (late.task.report or "").split("## Limits")[1].replace("\\", "")
    assert f"The search for “{QUESTION}”: time was up" in limits
    assert again.task.report == good.task.report


async def test_a_search_for_fewer_pages_is_not_replayed_for_one_for_more(lab: Lab) -> None:
    good = await lab.research.ask(QUESTION, max_questions=1)
    few = await lab.research.ask(QUESTION, max_questions=1, results_per_question=2)

    again = await lab.research.ask(QUESTION, max_questions=1, offline=True)
    few_again = await lab.research.ask(
        QUESTION, max_questions=1, results_per_question=2, offline=True
    )

    assert len(few.results) == len(few_again.results) == 2
    assert again.task.report == good.task.report
    assert few_again.task.report == few.task.report


@pytest.mark.usefixtures("silent_world")
@pytest.mark.parametrize("status", ["cancelled", "failed", "interrupted"])
async def test_a_finished_search_is_never_made_again_however_little_it_found(
    lab: Lab, world: World, database_url: str, status: str
) -> None:
    found = {"url": world.chronicle.url("/keepers"), "title": "Its keepers", "content": LIT}
    said = {"query": "", "results": [found], "unresponsive_engines": []}
    with answering(world, lambda _: Page(json.dumps(said), "application/json")):
        task_id = await in_the_middle(lab, results_per_question=10)
    await execute(database_url, f"UPDATE research_tasks SET status = '{status}'")
    before = await lab.research.get(task_id)
    n_searched = len(world.engine.asked)

    await lab.research.resume(task_id)
    details = await ended(lab, task_id)

    assert details.task.status is RunStatus.completed
    assert len(world.engine.asked) == n_searched
    searches = [step for step in before.steps if step.kind is Kind.search]
    assert [step for step in details.steps if step.kind is Kind.search] == searches
    assert [one.url for one in details.results] == [found["url"]] * len(searches)


async def test_two_addresses_of_one_page_are_both_replayed(
    lab: Lab, world: World, database_url: str
) -> None:
    await lab.read_page(world.chronicle.url("/copy"))
    found = [world.chronicle.url("/copy"), world.chronicle.url("/lighthouse")]
    results = [{"url": url, "title": "The lighthouse", "content": LIT} for url in found]
    said = {"query": "", "results": results, "unresponsive_engines": []}
    with answering(world, lambda _: Page(json.dumps(said), "application/json")):
        await lab.research.ask(QUESTION, max_questions=1, max_pages=1)
    await execute(
        database_url, "UPDATE search_results SET page_id = NULL, failure = NULL",
        "DELETE FROM web_pages WHERE requested_url LIKE '%/lighthouse'",
    )  # fmt: skip

    details = await lab.research.ask(QUESTION, max_questions=1, offline=True)

    assert "time was up" not in (details.task.report or "")
    assert [one.failure for one in details.results] == [None] * len(details.results)
    assert all(one.page_id for one in details.results)


async def test_no_sentence_is_compared_after_the_time_is_up(lab: Lab) -> None:
    await lab.research.ask(QUESTION, max_questions=1)

    details = await lab.research.ask(QUESTION, max_questions=1, offline=True, timeout_s=0.001)

    assert details.citations == []
    assert "was not looked through to its end" in (details.task.report or "")


@pytest.mark.usefixtures("slow_engine")
async def test_nobody_takes_all_places_and_who_waits_says_so(lab: Lab, app: Api, bob: str) -> None:
    tasks = [await lab.research.start(QUESTION, max_questions=1) for _ in range(3)]
    async with connect(app.url, bob) as his:
        theirs = await his.research.start(QUESTION, max_questions=1)
        await until(his, theirs.id, Kind.search, RunStatus.running)
        waiting = (await lab.research.get(tasks[2].id)).task.status
        await his.research.cancel(theirs.id)
    stages = [
        event.data
        async for event in lab.research.follow(tasks[2].id)
        if event.type is EventType.stage
    ]

    assert waiting is RunStatus.queued
    assert [(stage["name"], stage["n_done"]) for stage in stages[:3]] == [
        ("waiting", 0),
        ("waiting", 1),
        ("plan", 1),
    ]


@pytest.mark.usefixtures("silent_world")
async def test_an_operator_sets_how_many_tasks_are_worked_on_and_wait(
    world: World, database: Database, ann: str, bob: str, database_url: str, tmp_path: Path
) -> None:
    async with database.accounts() as accounts:
        carol = await accounts.get_or_create("carol")
    variables = {
        **world.settings(tmp_path),
        "LAB_LIMITS_MAX_RESEARCH_AT_ONCE": "2",
        "LAB_LIMITS_MAX_RESEARCH_OF_ONE": "1",
        "LAB_LIMITS_MAX_OPEN_RESEARCH": "3",
    }
    async with (
        running_api(database_url, **variables) as api,
        connect(api.url, ann) as hers,
        connect(api.url, bob) as his,
        connect(api.url, await key_of(database, carol)) as carols,
    ):
        at_work = await hers.research.start(QUESTION)
        await until(hers, at_work.id, Kind.gather, RunStatus.running)
        second = await hers.research.start(QUESTION)  # a place is free, but not for her
        his_task = await his.research.start(QUESTION)
        await until(his, his_task.id, Kind.search, RunStatus.running)
        beyond_all = await carols.research.start(QUESTION)
        third = await hers.research.start(QUESTION)
        with pytest.raises(RateLimitError, match=r"3 .*limits\.max_open_research") as refused:
            await hers.research.start(QUESTION)
        began = [task.status for task in (at_work, second, his_task, beyond_all, third)]
        for lab in (hers, his, carols):
            for task in await lab.research.list():
                await lab.research.cancel(task.id)

    assert refused.value.status == 429
    running, queued = RunStatus.running, RunStatus.queued
    assert began == [running, queued, running, queued, queued]


@pytest.mark.usefixtures("silent_world")
async def test_no_model_is_held_while_the_web_is_waited_for(
    lab: Lab,
) -> None:
    task = await lab.research.start(QUESTION, max_questions=1)
    await until(lab, task.id, Kind.gather, RunStatus.running)
    held: list[int] = []
    async with asyncio.timeout(30):
        while any(
            step.kind is Kind.gather and step.status is RunStatus.running
            for step in (await lab.research.get(task.id)).steps
        ):
            report = await lab.residents.report()
            held.append(sum(len(one.leases) for one in report.models))
            await asyncio.sleep(0.02)

    assert held.count(0) > len(held) / 2
