"""Tools whose code runs in the sandbox: Python of the model's own, and tools of users."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from lab.protocols import Sandbox
from lab.schemas.tool import Tool
from lab.workflows.dynamic_tools import CallableTool, DynamicTools, python_tool
from lab.workflows.tools.tool import Arguments, LabTool, ToolContext, Traits


@dataclass(frozen=True)
class SandboxTool:
    """A tool that runs in the sandbox, and sees nothing of whom it works for."""

    given: CallableTool
    traits: Traits

    @property
    def tool(self) -> Tool:
        """The tool, as a model sees it."""
        return self.given.tool

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return what the code printed and returned."""
        return await self.given.call(arguments)


class InSandbox:
    """
    The source of these tools.

    Parameters
    ----------
    sandbox : Sandbox
        Where they run.
    written : DynamicTools
        What is written for users; a tool is for turns that may read what is stored of its owner.
    """

    def __init__(self, sandbox: Sandbox, written: DynamicTools) -> None:
        self._python = SandboxTool(python_tool(sandbox), Traits())
        self._written = written

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return Python, and what the owner approved."""
        own = await self._written.callable(owner_id)
        traits = Traits(personal=True, own=True)
        return [self._python, *(SandboxTool(tool, traits) for tool in own)]
