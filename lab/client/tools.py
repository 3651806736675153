"""The tools that the lab runs, and those that are written for the user."""

import builtins
from typing import Any
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.errors import LabError, NotFoundError, nearest
from lab.schemas.dynamic_tool import DynamicTool
from lab.schemas.dynamic_tool_approval import DynamicToolApproval
from lab.schemas.dynamic_tool_proposal import DynamicToolProposal
from lab.schemas.dynamic_tool_request import DynamicToolRequest
from lab.schemas.dynamic_tool_run import DynamicToolRun
from lab.schemas.dynamic_tool_update import DynamicToolUpdate
from lab.schemas.dynamic_tool_wish import DynamicToolWish
from lab.schemas.offered_tool import OfferedTool
from lab.schemas.sandbox_result import SandboxResult

PATH = "/v1/tools"


class Tools:
    """
    What models may call and the lab runs.

    Tools that are written for the user run in the lab's sandbox, once the user has approved them.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> list[OfferedTool]:
        """Return the tools that the lab runs itself; `tools.enabled` names those in use."""
        return await self._http.fetch("GET", PATH, list[OfferedTool])

    async def own(self) -> builtins.list[DynamicTool]:
        """Return the tools that were written for the user, by name."""
        return await self._http.fetch("GET", f"{PATH}/own", builtins.list[DynamicTool])

    async def get(self, name: str) -> DynamicTool:
        """Return a tool with its code."""
        own = {tool.name: tool for tool in await self.own()}
        if name not in own:
            raise _missing(name, [*own])
        return own[name]

    async def propose(self, description: str, *, model: str | None = None) -> DynamicToolProposal:
        """
        Return a tool for a wish: the one that does it already, or one that a model writes.

        Parameters
        ----------
        description : str
            What it shall do, and with which arguments.
        model : str, optional
            Who writes it; by default who has the role `analysis`, else the user's model.

        Raises
        ------
        InputError
            If what the model wrote is no tool; nothing is stored.
        """
        wish = checked(DynamicToolWish, description=description, model=model)
        return await self._http.fetch("POST", f"{PATH}/propose", DynamicToolProposal, wish)

    async def add(
        self,
        name: str,
        code: str,
        *,
        description: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> DynamicTool:
        """
        Keep a tool; it runs once it is approved.

        Parameters
        ----------
        name : str
            What models call it; the function of that name is the tool.
        code : str
            Python source, with the standard library alone.
        description : str, optional
            What it does; by default the function's docstring.
        parameters : dict, optional
            JSON Schema of the arguments; by default what the function's annotations say.

        Raises
        ------
        InputError
            If the code is no tool.
        ConflictError
            If the user has a tool of that name.
        """
        tool = _request(name, code, description, parameters)
        return await self._http.fetch("POST", PATH, DynamicTool, tool)

    async def update(self, id: UUID, version: int, tool: DynamicToolRequest) -> DynamicTool:
        """Put a tool in the place of the version read; `ConflictError` when it is another."""
        update = DynamicToolUpdate(version=version, tool=tool)
        return await self._http.fetch("PUT", f"{PATH}/{id}", DynamicTool, update)

    async def set(
        self,
        name: str,
        code: str,
        *,
        description: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> DynamicTool:
        """Write a tool anew, as `add` does; it waits for approval again."""
        tool = await self.get(name)
        return await self.update(
            tool.id, tool.version, _request(name, code, description, parameters)
        )

    async def approve(self, name: str, version: int) -> DynamicTool:
        """Let the version that was read run; `ConflictError` when it is another one now."""
        approval = checked(DynamicToolApproval, version=version)
        return await self._http.fetch(
            "POST", f"{PATH}/{(await self.get(name)).id}/approve", DynamicTool, approval
        )

    async def run(self, name: str, /, **arguments: Any) -> SandboxResult:
        """
        Call a tool, and return what came of it: `value`, or `error` with why it `ended`.

        Raises
        ------
        ConflictError
            If it waits for approval.
        InputError
            If the arguments are not its.
        """
        call = DynamicToolRun(arguments=arguments)
        return await self._http.fetch(
            "POST", f"{PATH}/{(await self.get(name)).id}/run", SandboxResult, call
        )

    async def remove(self, name: str) -> None:
        """Delete a tool."""
        await self._http.delete(f"{PATH}/{(await self.get(name)).id}")


def _request(
    name: str, code: str, description: str | None, parameters: dict[str, Any] | None
) -> DynamicToolRequest:
    return checked(
        DynamicToolRequest, name=name, code=code, description=description, parameters=parameters
    )


def _missing(name: str, known: list[str]) -> LabError:
    error = NotFoundError("tool", name)
    there = ", ".join(known) or "none"
    error.args = (f"You have no tool `{name}`.{nearest(name, known)} There are: {there}.",)
    return error
