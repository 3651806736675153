"""Find the lab's tools, and run what a model calls: a call always has a result."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from lab.db.cache import Cache
from lab.errors import InputError, LabError, ServiceError, nearest
from lab.schemas.tool_call import ToolCall
from lab.texts import clean
from lab.waiting import working_time
from lab.workflows.breakers import OWN, Breakers
from lab.workflows.tool_arguments import check_arguments
from lab.workflows.tools.tool import LabTool, ToolContext, ToolSource

ERROR: Final = "Error: "
"""Begins what the model is told of a call that failed."""
UNKNOWN: Final = "unknown"
"""How calls of tools that there are not are counted: their names come from a model."""
_TEXT: Final = TypeAdapter(str)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What the model is told of a call."""

    text: str
    failed: bool = False
    seconds: float = 0.0


@dataclass
class ToolStats:
    """What was called in this process, by tool; users' own are one."""

    calls: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)


class Toolbox:
    """
    The tools of a lab.

    Parameters
    ----------
    sources : sequence of ToolSource
        Where they come from; of two with one name the first counts.
    cache : Cache
        Keeps results that may be used again.
    breakers : Breakers
        Where it stands that a tool keeps failing.
    relayed : ToolSource, optional
        Tools of others, which the lab uses and does not offer as its own.

    Attributes
    ----------
    sources : list of ToolSource
        As given; more may come while the lab runs.
    stats : ToolStats
        What was called.
    """

    def __init__(
        self,
        sources: Sequence[ToolSource],
        cache: Cache,
        breakers: Breakers,
        relayed: ToolSource | None = None,
    ) -> None:
        self.stats = ToolStats()
        self.sources = list(sources)
        self._relayed = [relayed] if relayed else []
        self._cache = cache
        self._breakers = breakers

    async def all(self, owner_id: UUID) -> dict[str, LabTool]:
        """Return every tool that a user may have, by name."""
        return await _tools([*self.sources, *self._relayed], owner_id)

    async def own(self, owner_id: UUID) -> dict[str, LabTool]:
        """Return the lab's own tools that a user may have, by name."""
        return await _tools(self.sources, owner_id)

    async def named(
        self, owner_id: UUID, names: Sequence[str], *, strict: bool
    ) -> dict[str, LabTool]:
        """
        Return the tools of these names, in their order.

        Parameters
        ----------
        owner_id : UUID
            Who wants them.
        names : sequence of str
            Which.
        strict : bool
            Refuse a name that there is not; else it is logged and left out, since what was set
            once must not end every chat.

        Raises
        ------
        InputError
            If there is no tool of a name.
        """
        if not names:
            return {}
        known = await self.own(owner_id)
        if not known.keys() >= set(names):  # what is asked for may be with a server that is slow
            known = await self.all(owner_id)
        for name in (name for name in names if name not in known):
            if strict:
                raise InputError(
                    f"The lab has no tool `{name}`.{nearest(name, list(known))} "
                    f"There are: {', '.join(known)}."
                )
            log.warning("no such tool", tool=name, owner_id=str(owner_id))
        return {name: known[name] for name in names if name in known}

    async def run(
        self, call: ToolCall, tools: Mapping[str, LabTool], context: ToolContext
    ) -> Outcome:
        """Run a call of one of these tools; what goes wrong is a result, too."""
        started = time.perf_counter()
        name = _counted(tools.get(call.name))
        self.stats.calls[name] += 1
        try:
            text, failed = await self._run(call, tools, context), False
        except LabError as error:
            text, failed = clean(f"{ERROR}{error}"), True
        except Exception as error:
            log.error("tool failed", tool=call.name, exc_info=error)
            text, failed = f"{ERROR}the tool `{call.name}` failed; answer without it.", True
        self.stats.failures[name] += failed
        return Outcome(text, failed, time.perf_counter() - started)

    async def _run(self, call: ToolCall, tools: Mapping[str, LabTool], context: ToolContext) -> str:
        if call.name not in tools:
            known = ", ".join(tools) or "none"
            raise InputError(f"There is no tool `{call.name}`; there are: {known}.")
        tool = tools[call.name]
        check_arguments(call.name, tool.tool.parameters, call.arguments)
        config = context.settings.config.tools
        keeps_s = min(tool.traits.keeps_s, config.cache_s)
        if not keeps_s:
            return await self._called(tool, call.arguments, context)
        is_made = False

        async def load() -> str:
            nonlocal is_made
            is_made = True
            return await self._called(tool, call.arguments, context)

        text = await self._cache.get(
            _key(call, context), _TEXT, load, owner_of=lambda _: context.owner_id, ttl_s=keeps_s
        )
        self.stats.cached[_counted(tool)] += not is_made
        return text

    async def _called(
        self, tool: LabTool, arguments: Mapping[str, Any], context: ToolContext
    ) -> str:
        """Make a call, unless its tool keeps failing, for as long as it may take."""
        owner_id = context.owner_id if tool.traits.own else None
        breaker = self._breakers.of("tool", tool.tool.name, owner_id)
        timeout_s = context.settings.config.tools.timeout_s
        with breaker.admitted(), breaker.counting():
            try:
                async with working_time(timeout_s):
                    return clean(await tool.call(arguments, context))
            except TimeoutError:
                raise ServiceError(
                    f"`{tool.tool.name}` took more than {timeout_s:g} s and was stopped."
                ) from None


def _counted(tool: LabTool | None) -> str:
    """Return under which name calls of a tool are counted, for everybody to see."""
    if tool is None:
        return UNKNOWN
    return OWN if tool.traits.own else tool.tool.name


async def _tools(sources: Sequence[ToolSource], owner_id: UUID) -> dict[str, LabTool]:
    found: dict[str, LabTool] = {}
    for source in sources:
        for tool in await source.tools(owner_id):
            found.setdefault(tool.tool.name, tool)
    return found


def _key(call: ToolCall, context: ToolContext) -> str:
    """Return what a result is kept under: the same call of the same owner."""
    told = json.dumps(call.arguments, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()
    return f"tool:{context.owner_id}:{call.name}:{digest}"
