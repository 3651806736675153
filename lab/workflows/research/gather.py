"""
Search for each question, then read what was found.

All searches are done before anything is read: a search of pages that were read already must not
depend on what this task reads meanwhile.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final
from uuid import UUID

from lab.db import Stores
from lab.errors import SearchError
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.run_status import RunStatus
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.schemas.search_result import SearchResult
from lab.schemas.web_outcome import WebOutcome
from lab.schemas.web_read_request import WebReadRequest
from lab.schemas.web_search_request import WebSearchRequest
from lab.texts import storable
from lab.web import canonical
from lab.workflows.research.context import ResearchContext
from lab.workflows.research.draft import GATHERED, SEARCHED, Gathered, Searched, written
from lab.workflows.research.steps import Done, once, steps_of

NO_TIME: Final = "time was up"
NOTHING_CAME: Final = "nothing came of it"
REPLAYED: Final = {
    *("query", "provider", "position", "url", "title", "snippet"),
    *("page_id", "failure"),
}
"""What a replay takes over of an earlier result."""


async def search(context: ResearchContext, place: int) -> None:
    """Search for a question; one that fails leaves the others alone."""

    async def work(step: ResearchStep) -> Done:
        recorded = await _recorded(context, step) if context.task.offline else None
        return recorded or await _searched(context, step)

    if await _reading_began(context):
        return  # a page that is read for one question must not become another's
    try:
        await once(context, Kind.search, place, work)
    except SearchError:
        return  # it stands with the step; where all fail, the task does


async def _reading_began(context: ResearchContext) -> bool:
    steps = await steps_of(context, Kind.gather)
    return any(step.status is not RunStatus.queued for step in steps)


async def check_searches(context: ResearchContext) -> None:
    """
    See to it that there is something to go on with.

    Raises
    ------
    SearchError
        If every search failed.
    """
    steps = await steps_of(context, Kind.search)
    if all(step.status is RunStatus.failed for step in steps):
        raise SearchError(steps[0].error or "Every search failed.")


async def _searched(context: ResearchContext, step: ResearchStep) -> Done:
    """Ask the providers; offline, those pages that were read."""
    providers = [SearchProviderKind.local] if context.task.offline else None
    limit = context.research.results_per_question
    request = WebSearchRequest(query=step.question, limit=limit, providers=providers)
    try:
        async with asyncio.timeout(_time_for(context)):
            found = await context.web.search(step.owner_id, request)
    except TimeoutError:
        return Done(written(SEARCHED, Searched(failures=[NO_TIME])), problem=NO_TIME)

    async def store(stores: Stores) -> None:
        for position, hit in enumerate(found.hits):
            await stores.search_results.add(
                step_id=step.id,
                query=step.question,
                provider=", ".join(hit.providers),
                position=position,
                url=hit.url,
                title=hit.title,
                snippet=hit.snippet,
            )

    failures = [failure.message for failure in found.failures]
    asked = [provider.value for provider in found.asked]
    problem = storable(" ".join(failures)) or None
    return Done(written(SEARCHED, Searched(asked, failures)), store=store, problem=problem)


async def _recorded(context: ResearchContext, step: ResearchStep) -> Done | None:
    """
    Return what the last search for the question found, where there was one.

    With each page as it was read for that, or why it was not: so that a replay is of the same.
    """
    limit = context.research.results_per_question
    async with context.stores() as stores:
        earlier = await stores.research_steps.searched(
            step.question, besides=step.task_id, limit=limit
        )
        if earlier is None:
            return None
        before = await stores.research_steps.get(earlier)
        found = await stores.search_results.of_step(earlier)

    async def store(stores: Stores) -> None:
        for one in found[:limit]:
            about = one.model_dump(include=REPLAYED)
            await stores.search_results.add(step_id=step.id, **about)

    result = before.result or written(SEARCHED, Searched())
    return Done(result, store=store, problem=before.error)


async def gather(context: ResearchContext, place: int) -> None:
    """
    Read the pages of a question; what comes of each is stored at once.

    A page that two questions found is read for the first of them.
    """

    async def work(step: ResearchStep) -> Done:
        wanted = allotted(await found_for(context), context)[place]
        waiting = [one for one in wanted if one.page_id is None and one.failure is None]
        why_not = await _read(context, waiting)
        async with context.stores() as stores:
            await stores.research_tasks.hold(context.task.id, context.run_id)
            rows = [await stores.search_results.get(one.id) for one in wanted]
            for row in rows:
                if row.page_id is None and row.failure is None:
                    await stores.search_results.update(row.id, failure=why_not)
            rows = [await stores.search_results.get(one.id) for one in wanted]
        unread = [(row.url, _why(row)) for row in rows if row.page_id is None]
        n_read = sum(row.page_id is not None for row in rows)
        return Done(written(GATHERED, Gathered(n_read, unread)))

    await once(context, Kind.gather, place, work)


async def _read(context: ResearchContext, waiting: Sequence[SearchResult]) -> str:
    """Read pages, as many as there is time for; return why there is nothing of the others."""
    by_url = {canonical(one.url): one.id for one in waiting}
    urls, most = list(by_url), context.most_pages_at_once
    try:
        async with asyncio.timeout(_time_for(context)):
            for first in range(0, len(urls), most):
                await _read_some(context, by_url, urls[first : first + most])
    except TimeoutError:
        return NO_TIME
    return NOTHING_CAME


async def _read_some(
    context: ResearchContext, by_url: dict[str, UUID], urls: Sequence[str]
) -> None:
    """Read no more pages than one request may."""
    request = WebReadRequest(urls=list(urls), max_pages=len(urls), offline=context.task.offline)
    async with aclosing(context.web.read(context.task.owner_id, request)) as outcomes:
        async for outcome in outcomes:
            await _keep(context, by_url, outcome)


async def _keep(context: ResearchContext, by_url: dict[str, UUID], outcome: WebOutcome) -> None:
    """Store what came of a page; a snapshot may be one that another address led to."""
    values: dict[str, object] = {}
    urls: list[str] = []
    if (page := outcome.page) is not None:
        urls, values = [page.requested_url, page.url], {"page_id": page.id}
    elif (failure := outcome.failure) is not None:
        urls, values = [failure.url], {"failure": f"{failure.reason.value}: {failure.message}"}
    found = list(dict.fromkeys(by_url[url] for url in urls if url in by_url))
    async with context.stores() as stores:
        await stores.research_tasks.hold(context.task.id, context.run_id)
        for place, id in enumerate(found):
            # The page is that of the address that was asked for; where it led, unless that was too.
            if place == 0 or (await stores.search_results.get(id)).page_id is None:
                await stores.search_results.update(id, **values)


async def found_for(context: ResearchContext) -> list[list[SearchResult]]:
    """Return what was found for each question, the best first."""
    steps = await steps_of(context, Kind.search)
    async with context.stores() as stores:
        found = await stores.search_results.of_task(context.task.id)
    return [[one for one in found if one.step_id == step.id] for step in steps]


def allotted(
    found: Sequence[Sequence[SearchResult]], context: ResearchContext
) -> list[list[SearchResult]]:
    """
    Return which pages are read for each question: in turn its best one that no other reads.

    Each question has at most `pages_per_question`, and all of them together `max_pages`.
    """
    research = context.research
    per_question = research.pages_per_question
    taken: dict[str, int] = {}
    mine: list[list[SearchResult]] = [[] for _ in found]
    for rank in range(max(map(len, found), default=0)):
        for place, results in enumerate(found):
            if rank >= len(results) or len(mine[place]) >= per_question:
                continue
            url = canonical(results[rank].url)
            if url not in taken and len(taken) < research.max_pages:
                taken[url] = place
                mine[place].append(results[rank])
    return mine


def _time_for(context: ResearchContext) -> float:
    return min(context.left_s(), context.research.question_timeout_s)


def _why(result: SearchResult) -> str:
    """Return in a word why a page was not read."""
    return (result.failure or NO_TIME).partition(":")[0].replace("_", " ")
