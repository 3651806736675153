"""
Find the sentences that answer a question, in the pages that were found for it.

Nothing is written here: a finding is a sentence of a page, taken as it stands there.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lab.errors import NotFoundError, cut
from lab.protocols import FloatArray
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.search_result import SearchResult
from lab.schemas.web_page import WebPage
from lab.web import canonical
from lab.workflows.research.context import ResearchContext
from lab.workflows.research.draft import ANALYSIS, Analysis, Passage, written
from lab.workflows.research.gather import found_for
from lab.workflows.research.sentences import (
    LONGEST,
    Sentence,
    is_statement,
    sentences_of,
    speaks_to_reader,
)
from lab.workflows.research.steps import Done, once
from lab.workflows.research.wording import exact_forms

AT_ONCE: Final = 64
"""Sentences that are handed to the embedding model together."""
MOST_PASSAGES: Final = 24
"""Sentences that are kept of a question, to be compared with those of other pages."""
LONGEST_TITLE: Final = 200
"""Characters."""
RELATIVE: Final = 0.8
"""Part of the best sentence's score that a claim has at least."""
PER_SITE: Final = 0.03
"""What each further site that says the same is worth, as a cosine."""
MOST_SITES: Final = 4
"""Sites beyond which more say nothing more."""


@dataclass(frozen=True)
class _Candidate:
    page: WebPage
    sentence: Sentence


@dataclass(frozen=True)
class _Looked:
    """What looking through pages found."""

    candidates: list[_Candidate]
    spoke_to_reader: list[tuple[str, int]]
    cut: list[str]


async def analyse(context: ResearchContext, place: int) -> None:
    """Find what pages say on a question."""

    async def work(step: ResearchStep) -> Done:
        pages = await _pages(context, place)
        looked = await asyncio.to_thread(look_through, pages, context.research.max_characters)
        analysis = await _ranked(context, step.question, looked)
        return Done(written(ANALYSIS, analysis))

    await once(context, Kind.analyse, place, work)


async def _pages(context: ResearchContext, place: int) -> list[WebPage]:
    """Return the pages that were read of those found for a question, each body once."""
    found = await found_for(context)
    read = {canonical(one.url): one for results in found for one in results if one.page_id}
    mine: list[SearchResult] = [
        read[url] for one in found[place] if (url := canonical(one.url)) in read
    ]
    pages: dict[str, WebPage] = {}
    async with context.stores() as stores:
        for one in mine:
            assert one.page_id is not None, "those that were read have one"
            try:
                page = await stores.web_pages.get(one.page_id)
            except NotFoundError:  # deleted since it was found
                continue
            pages.setdefault(page.sha256, page)
    return list(pages.values())


def look_through(pages: Sequence[WebPage], most_characters: int) -> _Looked:
    """Return the sentences of pages that may be findings, up to a number of characters."""
    candidates: list[_Candidate] = []
    spoke_to_reader: list[tuple[str, int]] = []
    cut: list[str] = []
    left = most_characters
    for page in pages:
        sentences = list(_within(page.text, left))
        if len(page.text) > left:
            cut.append(page.url)
        left = max(0, left - len(page.text))
        told = [one for one in sentences if speaks_to_reader(one.text)]
        if told:
            spoke_to_reader.append((page.url, len(told)))
        hidden = {one.start for one in told}
        candidates += [
            _Candidate(page, one)
            for one in sentences
            if one.start not in hidden and is_statement(one.text)
        ]
    return _Looked(candidates, spoke_to_reader, cut)


def _within(text: str, most: int) -> Iterator[Sentence]:
    """Yield the sentences that end within so many characters."""
    for sentence in sentences_of(text[: most + LONGEST]):
        if sentence.end > most:
            return
        yield sentence


async def _ranked(context: ResearchContext, question: str, looked: _Looked) -> Analysis:
    """Return the sentences nearest to a question."""
    vectors = await _vectors(context, [one.sentence.text for one in looked.candidates])
    found, late = looked.candidates[: len(vectors)], looked.candidates[len(vectors) :]
    cut_short = list(dict.fromkeys([*looked.cut, *(one.page.url for one in late)]))
    if not found:
        return Analysis([], [], looked.spoke_to_reader, cut_short)
    (asked,) = await context.embedding.embed([question], kind="query")
    # Rounded, so that the last bits of a batch decide nothing; equals keep the order of pages.
    scores = np.round(vectors @ asked, 4)
    order = [
        int(place)
        for place in np.argsort(-scores, kind="stable")
        if scores[place] >= context.research.min_similarity
    ][:MOST_PASSAGES]
    passages = [_passage(found[place], float(scores[place])) for place in order]
    groups = same_groups([one.quote for one in passages])
    claims = best_groups(passages, groups)[: context.research.claims_per_question]
    return Analysis(passages, claims, looked.spoke_to_reader, cut_short)


async def _vectors(context: ResearchContext, texts: Sequence[str]) -> FloatArray:
    """Return the vectors of sentences, of the first ones as far as there is time."""
    parts: list[FloatArray] = []
    for first in range(0, len(texts), AT_ONCE):
        if context.left_s() == 0:
            break
        parts.append(await context.embedding.embed(texts[first : first + AT_ONCE]))
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)


def best_groups(passages: Sequence[Passage], groups: Sequence[list[int]]) -> list[list[int]]:
    """
    Return the groups that come near enough to the best, the best first.

    What several sites say goes before what is about as near and stands on one.
    """

    def worth(group: list[int]) -> float:
        n_sites = len({passages[place].site for place in group})
        return passages[group[0]].score + PER_SITE * (min(n_sites, MOST_SITES) - 1)

    near = [group for group in groups if passages[group[0]].score >= RELATIVE * passages[0].score]
    return sorted(near, key=worth, reverse=True)


def _passage(found: _Candidate, score: float) -> Passage:
    page, sentence = found.page, found.sentence
    return Passage(
        page_id=page.id,
        url=page.url,
        title=_title(page),
        start=sentence.start,
        end=sentence.end,
        quote=sentence.text,
        sha256=page.sha256,
        score=score,
    )


def _title(page: WebPage) -> str:
    """Return how a page is called: by its address where its title is none, or speaks to readers."""
    title = " ".join((page.title or "").split())
    return page.url if not title or speaks_to_reader(title) else cut(title, LONGEST_TITLE)


def same_groups(texts: Sequence[str]) -> list[list[int]]:
    """
    Return the places of sentences in the same words, in the order of the first of each group.

    >>> same_groups(["It opened.", "It closed.", "It opened!"])
    [[0, 2], [1]]
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, text in enumerate(texts):
        # What has no word that is read here is the same where it is written alike.
        groups.setdefault(tuple(exact_forms(text)) or (text,), []).append(place)
    return list(groups.values())
