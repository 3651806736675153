"""
Verify every citation of a report against the pages as they are stored, and store the report.

Of each, the snapshot has the hash that is named, the page's text has the hash that the snapshot
names (or the quote stands in the body of one that names none), the quote stands in it at that
place, character by character, and it proves the claim: in its words and their order, no number,
date or name that it has not, no other negation, and near enough in meaning.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np

from lab.db import Stores
from lab.errors import NotFoundError
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.web_page import WebPage
from lab.web.bodies import text_in
from lab.web.warc import body_of, text_digest_of
from lab.workflows.research.context import ResearchContext
from lab.workflows.research.draft import DRAFT, Passage
from lab.workflows.research.proof import SAME, Place, Stored, unproven, wrong_place
from lab.workflows.research.report import Checks, render
from lab.workflows.research.steps import Done, once, results_of


async def verify(context: ResearchContext) -> None:
    """Store the report of a task, with its citations as they were found to be."""

    async def work(step: ResearchStep) -> Done:
        (result,) = await results_of(context, Kind.synthesise)
        draft = DRAFT.validate_json(result or "")
        pairs = draft.citations()
        proofs = [(claim, draft.sources[number - 1]) for claim, number in pairs]
        pages = await _stored(context, [passage for _, passage in proofs])
        scores = await _scores(context, proofs)
        reasons = await asyncio.to_thread(
            _reasons, proofs, pages, scores, context.research.min_entailment
        )
        checks: Checks = dict(zip(pairs, reasons, strict=True))
        report = render(draft, checks)
        rows = [
            {
                **_about(passage, claim),
                "number": number,
                "position": position,
                "score": score,
                "verified": checks[claim, number] is None,
                "reason": checks[claim, number],
            }
            for position, ((claim, number), (_, passage), score) in enumerate(
                zip(pairs, proofs, scores, strict=True)
            )
        ]

        async def store(stores: Stores) -> None:
            there = await stores.web_pages.hold([passage.page_id for _, passage in proofs])
            for row in rows:
                page_id = row["page_id"] if row["page_id"] in there else None
                await stores.research_citations.add(step.task_id, **{**row, "page_id": page_id})
            task = await stores.research_tasks.get(step.task_id)
            await stores.research_tasks.update(task.id, task.version, report=report)

        return Done(report, store=store)

    await once(context, Kind.verify, 0, work)


def _about(passage: Passage, claim: str) -> dict[str, Any]:
    """Return what of a citation stands in the page."""
    return {
        "claim": claim,
        "page_id": passage.page_id,
        "url": passage.url,
        "title": passage.title,
        "quote": passage.quote,
        "start": passage.start,
        "end": passage.end,
        "sha256": passage.sha256,
    }


async def _stored(
    context: ResearchContext, passages: Sequence[Passage]
) -> dict[UUID, Stored | None]:
    """Return the pages as they are stored now; None for one that is gone."""
    pages: dict[UUID, Stored | None] = {}
    for id in dict.fromkeys(passage.page_id for passage in passages):
        try:
            async with context.stores() as stores:
                page = await stores.web_pages.get(id)
                warc = await stores.web_pages.warc(id)
        except NotFoundError:
            pages[id] = None
            continue
        pages[id] = await asyncio.to_thread(_unpacked, page, warc)
    return pages


def _unpacked(page: WebPage, warc: bytes) -> Stored:
    """Return a page with what its snapshot holds: nothing where that is damaged."""
    try:
        body, headers = body_of(warc)
        digest = text_digest_of(warc)
        declared = {name.lower(): value for name, value in headers}.get("content-type", "")
        said = text_in(body, declared) if digest is None else None
        return Stored(page.text, page.sha256, body, digest, said)
    except ValueError:
        return Stored(page.text, page.sha256, b"", None)


async def _scores(context: ResearchContext, proofs: Sequence[tuple[str, Passage]]) -> list[float]:
    """Return the cosine of each claim to its quote; the same words have 1."""
    others = [(claim, one.quote) for claim, one in proofs if claim != one.quote]
    if not others:
        return [SAME] * len(proofs)
    texts = list(dict.fromkeys(text for pair in others for text in pair))
    vectors = dict(zip(texts, await context.embedding.embed(texts), strict=True))
    return [
        SAME if claim == one.quote else round(float(np.dot(vectors[claim], vectors[one.quote])), 4)
        for claim, one in proofs
    ]


def _reasons(
    proofs: Sequence[tuple[str, Passage]],
    pages: Mapping[UUID, Stored | None],
    scores: Sequence[float],
    least: float,
) -> list[str | None]:
    return [
        _reason(claim, passage, pages, score, least)
        for (claim, passage), score in zip(proofs, scores, strict=True)
    ]


def _reason(
    claim: str,
    passage: Passage,
    pages: Mapping[UUID, Stored | None],
    score: float,
    least: float,
) -> str | None:
    place = Place(passage.start, passage.end, passage.quote, passage.sha256)
    misplaced = wrong_place(place, pages[passage.page_id])
    return misplaced or unproven(claim, passage.quote, score, least)
