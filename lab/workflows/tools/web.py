"""The web: searched, and pages read."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from lab.errors import FetchError, InputError
from lab.schemas.web_hit import WebHit
from lab.schemas.web_page import WebPage
from lab.schemas.web_read_request import WebReadRequest
from lab.schemas.web_search_request import WebSearchRequest
from lab.workflows.tools.search_memory import NOTHING
from lab.workflows.tools.tool import Arguments, LabTool, ToolContext, Traits, described
from lab.workflows.web import Web

HITS: Final = 5
"""Pages that a search shows to a model."""
LONGEST_QUERY: Final = WebSearchRequest.model_json_schema()["properties"]["query"]["maxLength"]
TRAITS: Final = Traits(personal=True, foreign=True, leads=True, keeps_s=300.0)
"""The pages that were read are the user's; what they say is others'."""


class SearchWeb:
    """
    Find pages.

    Parameters
    ----------
    web : Web
        What the lab does on the web.
    """

    tool = described(
        "search_web",
        "Search the web.",
        query={
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_QUERY,
            "description": "What to search for.",
        },
    )
    traits = TRAITS

    def __init__(self, web: Web) -> None:
        self._web = web

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return titles, addresses and snippets, best first."""
        try:
            request = WebSearchRequest(query=arguments["query"], limit=HITS)
        except ValidationError as error:  # no text, such as half of a surrogate pair
            raise InputError(f"It cannot be asked so: {error.errors()[0]['msg']}.") from None
        found = await self._web.search(context.owner_id, request)
        return "\n".join(_line(hit) for hit in found.hits) or NOTHING


class ReadPage:
    """
    Read a page.

    Parameters
    ----------
    web : Web
        What the lab does on the web.
    """

    tool = described(
        "read_page",
        "Read a page of the web.",
        url={"type": "string", "minLength": 1, "description": "Its address."},
    )
    traits = replace(TRAITS, goes_to="url")

    def __init__(self, web: Web) -> None:
        self._web = web

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return the title and main text of the page, which is kept for the user."""
        outcomes = self._web.read(context.owner_id, WebReadRequest(urls=[arguments["url"]]))
        async with aclosing(outcomes):
            async for outcome in outcomes:
                if outcome.page is not None:
                    return _text(outcome.page)
                if outcome.failure is not None:
                    raise FetchError(outcome.failure.message)
        raise FetchError(f"`{arguments['url']}` was not read.")


class WebTools:
    """
    The source of the tools above.

    Parameters
    ----------
    web : Web
        What the lab does on the web.
    """

    def __init__(self, web: Web) -> None:
        self._tools: Sequence[LabTool] = (SearchWeb(web), ReadPage(web))

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return them."""
        return self._tools


def _line(hit: WebHit) -> str:
    return f"{hit.title} <{hit.url}>: {' '.join(hit.snippet.split())}"


def _text(page: WebPage) -> str:
    return f"{page.title}\n\n{page.text}" if page.title else page.text
