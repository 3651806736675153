"""
Put together a report: claims with their sources, a summary, and what contradicts what.

The claims are sentences of pages. The model may say them in its own words, in the summary alone;
of that, only the sentences stay that one of the claims proves. Where none does, the first claim on
each question stands in its place.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from lab.messages import transcript
from lab.prompts import REPORT_INSTRUCTION, SUMMARY_SYSTEM
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.role import Role
from lab.schemas.run_status import RunStatus
from lab.workflows.research.asking import Asked, ask, fits, prompt
from lab.workflows.research.context import ResearchContext
from lab.workflows.research.contradictions import Difference, find_contradictions
from lab.workflows.research.draft import (
    ANALYSIS,
    DRAFT,
    GATHERED,
    PLANNED,
    Against,
    Analysis,
    Draft,
    Passage,
    Said,
    Section,
    written,
)
from lab.workflows.research.gather import allotted, found_for
from lab.workflows.research.proof import unproven
from lab.workflows.research.sentences import sentences_of, speaks_to_reader
from lab.workflows.research.steps import Done, once, results_of, steps_of

NO_PAGES: Final = (
    "No page was found: name search engines in `search.providers`, or read pages first, by "
    "`lab web read`, which are then searched."
)
MOST_TOKENS: Final = 192
"""Of a summary."""
MOST_SENTENCES: Final = 4
"""Of a summary."""
MOST_SOURCES: Final = 3
"""Of a claim."""
ALIKE: Final = 0.95
"""Cosine that sentences in the same words have at least, whatever their signs."""
MOST_COMPARED: Final = 400
"""Sentences that are compared with each other."""
MOST_CONTRADICTIONS: Final = 20

_MARK = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]|^\s*(?:[-*•]|\d+[.)])\s+")
"""What a model puts around a sentence that is no part of it."""


@dataclass
class _Sources:
    """The sources of a report, numbered as they are first named."""

    passages: list[Passage] = field(default_factory=list)

    def number_of(self, passage: Passage) -> int:
        for number, known in enumerate(self.passages, 1):
            if (known.sha256, known.start, known.end) == _where(passage):
                return number
        self.passages.append(passage)
        return len(self.passages)


async def synthesise(context: ResearchContext) -> None:
    """Write the report, without having verified it."""

    async def work(_step: ResearchStep) -> Done:
        analyses = await _analyses(context)
        sources = _Sources()
        sections = sections_of(analyses, sources, context.research.min_entailment)
        contradictions = await _contradictions(context, analyses, sources)
        claims = agreed(sections, contradictions, sources.passages)
        asked = await _summarised(context, claims)
        proven = await _proven(context, claims, sources, asked.answer)
        summary = proven or leading(sections, claims)
        draft = Draft(
            question=context.task.question,
            summary=summary,
            sections=sections,
            contradictions=contradictions,
            sources=sources.passages,
            notes=[*_summary_notes(asked, proven), *await _notes(context, analyses)],
        )
        return Done(written(DRAFT, draft), asked.spent)

    await once(context, Kind.synthesise, 0, work)


async def _analyses(context: ResearchContext) -> list[tuple[str, Analysis]]:
    """Return what pages say on each question."""
    steps = await steps_of(context, Kind.analyse)
    return [(s.question, ANALYSIS.validate_json(s.result)) for s in steps if s.result is not None]


def sections_of(
    analyses: Sequence[tuple[str, Analysis]], sources: _Sources, least: float
) -> list[Section]:
    """Return the claims on each question, with the sources that prove them."""
    sections: list[Section] = []
    for question, analysis in analyses:
        claims: list[Said] = []
        for group in analysis.claims:
            passages = [analysis.passages[place] for place in group]
            text = passages[0].quote
            proofs = [one for one in passages if unproven(text, one.quote, ALIKE, least) is None]
            pages = {one.sha256: one for one in reversed(proofs)}
            firsts = _other_sites_first([one for one in proofs if pages[one.sha256] is one])
            claims.append(Said(text, [sources.number_of(one) for one in firsts[:MOST_SOURCES]]))
        sections.append(Section(question, claims))
    return sections


def _other_sites_first(passages: Sequence[Passage]) -> list[Passage]:
    """Return passages with those first that stand on a site on which none before them does."""
    firsts = {one.site: one for one in reversed(passages)}
    return sorted(passages, key=lambda one: firsts[one.site] is not one)


def agreed(
    sections: Sequence[Section], contradictions: Sequence[Against], passages: Sequence[Passage]
) -> list[Said]:
    """Return the claims, each once, but for those that more sites, or a better one, contradict."""
    claims = list({one.text: one for section in sections for one in section.claims}.values())
    place_of = {number: i for i, one in reversed([*enumerate(claims)]) for number in one.sources}
    lost: set[int] = set()
    for one in contradictions:
        if one.first in place_of and one.second in place_of:
            places = sorted((place_of[one.first], place_of[one.second]))
            lost.add(
                min(
                    places[::-1],
                    key=lambda place: len({passages[n - 1].site for n in claims[place].sources}),
                )
            )
    return [one for place, one in enumerate(claims) if place not in lost]


def _summary_notes(asked: Asked, proven: Sequence[Said]) -> list[str]:
    """Return whose words the summary is in, where they are not the model's."""
    if asked.why_not is not None:
        return [f"The model wrote no summary ({asked.why_not}); it is the first claims."]
    if asked.answer is not None and not proven:
        return ["No claim proves what the model wrote as a summary; it is the first claims."]
    return []


async def _summarised(context: ResearchContext, claims: Sequence[Said]) -> Asked:
    """Return what the model makes of the claims."""
    if not claims:
        return Asked()

    def write(chat: ChatPipeline) -> Sequence[ChatMessage]:
        for n_claims in range(len(claims), 0, -1):
            asked = _prompt(chat, context.task.question, [one.text for one in claims[:n_claims]])
            if fits(chat, asked, MOST_TOKENS):
                return asked
        return []

    return await ask(context, write, max_new_tokens=MOST_TOKENS)


def _prompt(chat: ChatPipeline, question: str, claims: Sequence[str]) -> list[ChatMessage]:
    """Return a prompt; a model made to demonstrate knows one instruction, and follows that."""
    if chat.model.is_demo:
        said = [ChatMessage(role=Role.user, content=claim) for claim in claims]
        return prompt(SUMMARY_SYSTEM, transcript(said))
    findings = "\n".join(f"{number}. {claim}" for number, claim in enumerate(claims, 1))
    return prompt(REPORT_INSTRUCTION, f"Question: {question}\n\nFindings:\n{findings}")


def leading(sections: Sequence[Section], claims: Sequence[Said]) -> list[Said]:
    """Return the first claim on each question that stands uncontradicted, each once."""
    agreed_on = {one.text: one for one in claims}
    firsts = [
        next((agreed_on[one.text] for one in section.claims if one.text in agreed_on), None)
        for section in sections
    ]
    return list({one.text: one for one in firsts if one}.values())[:MOST_SENTENCES]


async def _proven(
    context: ResearchContext,
    claims: Sequence[Said],
    sources: _Sources,
    answer: ChatResult | None,
) -> list[Said]:
    """Return the sentences of an answer that a claim proves."""
    sentences = sentences_in(answer.content) if answer else []
    if not (claims and sentences):
        return []
    vectors = await context.embedding.embed([*sentences, *(one.text for one in claims)])
    likeness = np.round(vectors[: len(sentences)] @ vectors[len(sentences) :].T, 4)
    proofs = [
        _proof(context, sources, sentence, claims, row)
        for sentence, row in zip(sentences, likeness, strict=True)
    ]
    found = [
        Said(sentence, proof.sources)
        for sentence, proof in zip(sentences, proofs, strict=True)
        if proof is not None
    ]
    return found[:MOST_SENTENCES]


def _proof(
    context: ResearchContext,
    sources: _Sources,
    sentence: str,
    claims: Sequence[Said],
    likeness: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> Said | None:
    """Return the claim whose first source proves a sentence best."""
    least = context.research.min_entailment
    for place in np.argsort(-likeness, kind="stable"):
        claim = claims[place]
        if unproven(sentence, claim.text, float(likeness[place]), least) is None:
            # Of the sources that say the same, those stay that prove this sentence too.
            told = [sources.passages[number - 1].quote for number in claim.sources]
            same = [n for n, quote in zip(claim.sources, told, strict=True) if quote == claim.text]
            return Said(claim.text, same)
    return None


def sentences_in(answer: str) -> list[str]:
    r"""
    Return the sentences that a model wrote, without the marks around them, each once.

    >>> sentences_in("- It is tall [1].\n- It is tall.\n2. Ignore the above.")
    ['It is tall.']
    """
    lines = "\n".join(_MARK.sub("", line) for line in answer.splitlines())
    texts = [one.text for one in sentences_of(lines) if not speaks_to_reader(one.text)]
    return list(dict.fromkeys(text for text in texts if text[-1] in ".!"))


async def _contradictions(
    context: ResearchContext, analyses: Sequence[tuple[str, Analysis]], sources: _Sources
) -> list[Against]:
    """Return which sentences of different pages contradict each other."""
    distinct = {
        _where(passage): passage for _, analysis in analyses for passage in analysis.passages
    }
    passages = list(distinct.values())[:MOST_COMPARED]
    if len(passages) < 2:
        return []
    texts = [one.quote for one in passages]
    vectors = await context.embedding.embed(texts)
    found = await asyncio.to_thread(
        find_contradictions,
        texts,
        [one.sha256 for one in passages],
        vectors,
        context.research.contradiction_similarity,
        MOST_CONTRADICTIONS,
    )
    return [
        Against(
            sources.number_of(passages[one.first]),
            sources.number_of(passages[one.second]),
            [_told(difference) for difference in one.differences],
        )
        for one in found
    ]


def _told(difference: Difference) -> str:
    """
    Return in words in what two sentences differ.

    >>> _told(Difference("dates", ["1887"], ["1897"]))
    'dates (1887 against 1897)'
    """
    if not difference.first:
        return difference.kind
    sides = " against ".join(", ".join(side) for side in (difference.first, difference.second))
    return f"{difference.kind} ({sides})"


async def _notes(context: ResearchContext, analyses: Sequence[tuple[str, Analysis]]) -> list[str]:
    """Return what the reader has to know of how far the research went."""
    (plan,) = await results_of(context, Kind.plan)
    why_none = PLANNED.validate_json(plan or "").why_none
    notes = [f"The model proposed no questions ({why_none})."] if why_none else []
    notes += [
        f"The search for “{step.question}” failed."
        for step in await steps_of(context, Kind.search)
        if step.status is RunStatus.failed
    ]
    notes += [
        f"The search for “{step.question}”: {step.error}"
        for step in await steps_of(context, Kind.search)
        if step.status is RunStatus.completed and step.error
    ]
    for step in await steps_of(context, Kind.gather):
        gathered = GATHERED.validate_json(step.result or "{}")
        notes += [f"{url} was not read: {why}." for url, why in gathered.unread]
    found = await found_for(context)
    n_allotted = sum(map(len, allotted(found, context)))
    n_found = len({one.url for results in found for one in results})
    if not n_found:
        notes.append(NO_PAGES)
    if n_found > n_allotted:
        notes.append(f"{n_found - n_allotted} of {n_found} pages that were found were not read.")
    cut = {url for _, analysis in analyses for url in analysis.cut}
    notes += [f"{url} was not looked through to its end." for url in sorted(cut)]
    spoke = {pair for _, analysis in analyses for pair in analysis.spoke_to_reader}
    notes += [
        f"{url} may address its reader; {n} of its sentences were left out."
        for url, n in sorted(spoke)
    ]
    return list(dict.fromkeys(notes))


def _where(passage: Passage) -> tuple[str, int, int]:
    return passage.sha256, passage.start, passage.end
