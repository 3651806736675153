"""Ask several providers, and make one list of what they find."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from lab.errors import LabError, SearchError, cut
from lab.protocols import SearchFinding, SearchProvider
from lab.schemas.provider_failure import ProviderFailure
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.asking import search_error
from lab.web.urls import canonical

RANK: Final = 60
"""Of reciprocal rank fusion (Cormack et al., 2009): how little the first ranks differ."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Merged:
    """
    A page that one or several providers found.

    Attributes
    ----------
    finding : SearchFinding
        As the one shows it that ranks it highest.
    providers : list of SearchProviderKind
        Who found it.
    rank_score : float
        What its ranks say, in (0, 1]: 1 for what all who answered found first.
    """

    finding: SearchFinding
    providers: list[SearchProviderKind]
    rank_score: float


@dataclass
class Answers:
    """What providers said."""

    found: dict[SearchProviderKind, Sequence[SearchFinding]] = field(default_factory=dict)
    failures: list[ProviderFailure] = field(default_factory=list)


async def ask_all(
    providers: Sequence[SearchProvider], query: str, *, limit: int, at_once: int, timeout_s: float
) -> Answers:
    """
    Ask providers, the first choices together; who fails or finds nothing is replaced by the next.

    Parameters
    ----------
    providers : sequence of SearchProvider
        The first choice first.
    query : str
        What to look for.
    limit : int
        Most results of each.
    at_once : int
        How many are asked together.
    timeout_s : float
        Seconds that each may take.

    Raises
    ------
    SearchError
        If all of them fail; it says why each did.
    """
    answers = Answers()
    waiting = deque(providers)

    async def ask_until_found() -> None:
        while waiting:
            if await _ask(waiting.popleft(), query, limit, timeout_s, answers):
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(ask_until_found())
    if not answers.found:
        raise SearchError(" ".join(failure.message for failure in answers.failures))
    return answers


async def _ask(
    provider: SearchProvider, query: str, limit: int, timeout_s: float, answers: Answers
) -> bool:
    """Return whether a provider found anything; note what it found, or why it failed."""
    try:
        async with asyncio.timeout(timeout_s):
            found = await provider.search(query, limit)
    except TimeoutError:
        failure = search_error(
            provider.kind, f"it took longer than {timeout_s:g} s (search.timeout_s)"
        )
    except SearchError as error:
        failure = error
    except LabError as error:
        failure = search_error(provider.kind, cut(str(error)).rstrip("."))
    except Exception as error:  # of a library that reads an answer: it must not end the others
        log.error("search failed", provider=provider.kind.value, exc_info=error)
        failure = search_error(provider.kind, "its answer cannot be read; see the lab's log")
    else:
        answers.found[provider.kind] = found
        return bool(found)
    answers.failures.append(ProviderFailure(provider=provider.kind, message=str(failure)))
    return False


def merged(
    found: Sequence[tuple[SearchProviderKind, Sequence[SearchFinding]]],
) -> list[Merged]:
    """
    Return each page that was found once, the one with the best ranks first.

    Parameters
    ----------
    found : sequence of (SearchProviderKind, sequence of SearchFinding)
        What providers answered, each maybe to several queries.
    """
    by_url: dict[str, list[tuple[int, SearchProviderKind, SearchFinding]]] = {}
    for provider, findings in found:
        seen: set[str] = set()
        for rank, finding in enumerate(findings):
            if (url := _url_of(finding)) and url not in seen:
                seen.add(url)
                by_url.setdefault(url, []).append((rank, provider, finding))
    most = sum(1 / RANK for _, findings in found if findings)
    pages = [
        Merged(
            finding=min(places, key=lambda place: place[0])[2],
            providers=list(dict.fromkeys(provider for _, provider, _ in places)),
            rank_score=sum(1 / (RANK + rank) for rank, _, _ in places) / most,
        )
        for places in by_url.values()
    ]
    return sorted(pages, key=lambda page: -page.rank_score)


def _url_of(finding: SearchFinding) -> str | None:
    """Return the one form of an address; None for what is no address of the web."""
    try:
        url = canonical(finding.url)
    except ValueError:
        return None
    return url if url.startswith(("http://", "https://")) else None
