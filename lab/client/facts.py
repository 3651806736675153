"""What the user's conversations told, fact by fact."""

import builtins
from uuid import UUID

from lab.client.http import Http
from lab.schemas.fact import Fact
from lab.schemas.fact_hit import FactHit

PATH = "/v1/facts"


class Facts:
    """
    The user's facts.

    They follow the memories that they come from: correct or forget these to change them.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(
        self,
        limit: int = 50,
        before: UUID | None = None,
        *,
        conversation: UUID | None = None,
        history: bool = False,
    ) -> list[Fact]:
        """
        Return facts that hold, the last told first.

        Parameters
        ----------
        limit : int
            Most facts to return.
        before : UUID, optional
            The last fact of the page before.
        conversation : UUID, optional
            Only what this one told, as if it were the only one.
        history : bool
            Also those that no longer hold.
        """
        return await self._http.fetch(
            "GET",
            PATH,
            list[Fact],
            limit=limit,
            before=before,
            conversation_id=conversation,
            history=history,
        )

    async def search(
        self,
        text: str,
        limit: int = 10,
        *,
        conversation: UUID | None = None,
        history: bool = False,
    ) -> builtins.list[FactHit]:
        """Return the facts that bear on a text, best first; the rest is as for `list`."""
        return await self._http.fetch(
            "GET",
            f"{PATH}/search",
            list[FactHit],
            q=text,
            limit=limit,
            conversation_id=conversation,
            history=history,
        )

    async def get(self, fact_id: UUID) -> Fact:
        """Return one fact."""
        return await self._http.fetch("GET", f"{PATH}/{fact_id}", Fact)
