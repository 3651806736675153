"""What a tool of the lab is, what it may use, and where tools come from."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from lab.config import Settings
from lab.db import Stores
from lab.protocols import ChatPipeline, EmbeddingPipeline
from lab.schemas.image import Image
from lab.schemas.tool import Tool
from lab.schemas.usage import Usage

Arguments = Mapping[str, Any]
"""What the model gave, as the tool's schema has it: data, which says nothing of who asks."""


@dataclass(frozen=True)
class ToolContext:
    """For whom a tool works and what it may use; nothing of it comes from the model."""

    owner_id: UUID
    settings: Settings
    """The owner's."""

    chat: Callable[[], AbstractAsyncContextManager[ChatPipeline]]
    """Leases the model that answers."""

    embedding: Callable[[], AbstractAsyncContextManager[EmbeddingPipeline]]
    stores: Callable[[], AbstractAsyncContextManager[Stores]]
    """Opens a transaction on what the owner has."""

    conversation_id: UUID | None = None
    current: Sequence[UUID] = ()
    """Stored messages of the turn itself."""

    spent: list[Usage] = field(default_factory=list)
    """What models cost that tools asked."""

    made: list[Image] = field(default_factory=list)
    """Pictures that tools made."""


@dataclass(frozen=True)
class Traits:
    """What the lab must know of a tool to offer and run it."""

    personal: bool = False
    """It reads or writes what is stored of the owner."""

    own: bool = False
    """It is one user's: others may have another by its name, and shall not see that."""

    changes: bool = False
    """It changes something. It does not run in a turn that has read `foreign` text."""

    foreign: bool = False
    """Its results are from outside of the lab: others wrote them."""

    leads: bool = False
    """Its results name addresses of the web, to which a turn may go on."""

    goes_to: str | None = None
    """The argument that is an address: after `foreign` text only one that was named before."""

    keeps_s: float = 0.0
    """
    Seconds for which a result holds, for the same arguments; 0 = each call is made.

    Such a call may go on after its turn was stopped, so it must not use the turn's models.
    """


class LabTool(Protocol):
    """A tool that the lab runs."""

    @property
    def tool(self) -> Tool:
        """Name, description and JSON Schema of the arguments, as the model sees them."""
        ...

    @property
    def traits(self) -> Traits:
        """What the lab must know of it."""
        ...

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """
        Return the result as text.

        Raises
        ------
        LabError
            What went wrong, for the model to read.
        """
        ...


class ToolSource(Protocol):
    """Where tools come from."""

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return the tools that a user may have."""
        ...


def described(name: str, description: str, **arguments: Mapping[str, Any]) -> Tool:
    """
    Return the description of a tool all of whose arguments are needed.

    >>> described("add", "Add.", n={"type": "integer"}).parameters["required"]
    ['n']
    """
    schema: dict[str, Any] = {"type": "object", "properties": dict(arguments)}
    if arguments:
        schema["required"] = list(arguments)
    return Tool(name=name, description=description, parameters=schema)
