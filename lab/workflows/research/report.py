"""
A report as Markdown, in which only the lab's own words are markup.

What pages say is escaped: it makes no link, picture, heading or citation of its own. There is
nothing in it that differs from one run to the next: no time, and no id.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from lab.texts import UNSEEN, visible
from lab.workflows.research.draft import Draft, Passage, Said

Checks = Mapping[tuple[str, int], str | None]
"""Of each claim with the number of a source, why that does not prove it; None where it does."""

NOTHING: Final = "Nothing that was read answers the question."
HASH: Final = 16
"""Digits of a hash that are shown; the whole one stands with the citation."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!^])")
_HOST = re.compile(r"[a-z]+://[^/?#]*", re.IGNORECASE)
_UNSAFE = re.compile(rf"[\s<>`\\{UNSEEN}]")
_UNSAFE_PATH = re.compile(rf"[\s<>`\\\[\]{UNSEEN}]")
_BEGINS = re.compile(r"^(\d*)(?=[-+=:.)])")
"""What would begin a list, or underline a heading."""


def render(draft: Draft, checks: Checks) -> str:
    """Return the report of a draft, with what does not verify marked."""
    parts = [f"# {escaped(draft.question)}"]
    if draft.summary:
        told = " ".join(_cited(one, checks) + _against(draft, one) for one in draft.summary)
        parts.append(f"**In short:** {told}")
    else:
        parts.append(f"**In short:** {NOTHING}")
    for section in draft.sections:
        claims = [f"- {_cited(one, checks)}" for one in section.claims]
        parts += [f"## {escaped(section.question)}", "\n".join(claims) or NOTHING]
    if draft.contradictions:
        parts += ["## Contradictions", "\n".join(_contradictions(draft, checks))]
    if draft.sources:
        sources = [f"{n}. {_source(one)}" for n, one in enumerate(draft.sources, 1)]
        parts += ["## Sources", "\n".join(sources)]
    if draft.notes:
        parts += ["## Limits", "\n".join(f"- {escaped(note)}" for note in draft.notes)]
    return "\n\n".join(parts) + "\n"


def without_pages(report: str, numbers: Sequence[int]) -> str:
    """Return a report that says which of its sources were deleted since."""
    if not numbers:
        return report
    shown = ", ".join(f"[{number}]" for number in numbers)
    return (
        f"{report}\n## Deleted pages\n\nThe pages of {shown} were deleted since; what the report "
        "quotes of them cannot be looked up any more.\n"
    )


def escaped(text: str) -> str:
    r"""
    Return a text on one line, in which nothing is markup or commands a terminal.

    >>> print(escaped("# See [1] <b>\n![x](y)"))
    \# See \[1\] \<b\> \!\[x\](y)
    """
    line = _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))
    return _BEGINS.sub(r"\1\\", line)


def _cited(said: Said, checks: Checks) -> str:
    """Return a sentence with the numbers of its sources, and which of them do not prove it."""
    numbers = "".join(f"[{number}]" for number in said.sources)
    return f"{escaped(said.text)} {numbers}{_unverified(said.text, said.sources, checks)}"


def _against(draft: Draft, said: Said) -> str:
    """Return which sources contradict those of a sentence; nothing where none does."""
    sides = [(one.first, one.second) for one in draft.contradictions]
    sides += [(second, first) for first, second in sides]
    against = sorted({other for number, other in sides if number in said.sources})
    shown = "".join(f"[{number}]" for number in against)
    return f" *(contradicted by {shown})*" if shown else ""


def _unverified(text: str, numbers: Sequence[int], checks: Checks) -> str:
    """Return a mark for what does not verify; nothing where all does."""
    reasons = [(number, checks[text, number]) for number in numbers]
    wrong = [f"[{number}] {escaped(why)}" for number, why in reasons if why is not None]
    return f" *(unverified: {'; '.join(wrong)})*" if wrong else ""


def _contradictions(draft: Draft, checks: Checks) -> Iterator[str]:
    for one in draft.contradictions:
        sides = []
        for number in (one.first, one.second):
            quote = draft.sources[number - 1].quote
            sides.append(f"“{escaped(quote)}” [{number}]{_unverified(quote, [number], checks)}")
        kinds = escaped("; ".join(one.differences))
        yield f"- {' — '.join(sides)}: they differ in {kinds}."


def _source(passage: Passage) -> str:
    where = f"characters {passage.start}–{passage.end} of the snapshot `{passage.sha256[:HASH]}`"
    return f"{escaped(passage.title)}, {address(passage.url)}, {where}: “{escaped(passage.quote)}”"


def address(url: str) -> str:
    """
    Return an address as a link that ends where the address does.

    >>> address("http://[::1]/x y>[1]")
    '<http://[::1]/x%20y%3E%5B1%5D>'
    """
    parts = _HOST.match(url)
    host = parts.group() if parts else ""
    return f"<{_quoted(host, _UNSAFE)}{_quoted(url[len(host) :], _UNSAFE_PATH)}>"


def _quoted(text: str, unsafe: re.Pattern[str]) -> str:
    return unsafe.sub(lambda found: quote(found.group(), safe=""), text)
