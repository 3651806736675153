"""
Tools that are written for one owner, and run in the sandbox once a version of them is approved.

What is written anew waits for approval again: nothing runs that its owner has not read.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from lab.db import Database
from lab.errors import CodeError, ConflictError, InputError, rebuild
from lab.pipelines import run_pipeline
from lab.prompts import START_INSTRUCTION, TAKEN_INSTRUCTION, TOOL_INSTRUCTION
from lab.protocols import EmbeddingPipeline, Pipelines, Sandbox
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.dynamic_tool import DynamicTool
from lab.schemas.dynamic_tool_origin import DynamicToolOrigin
from lab.schemas.dynamic_tool_proposal import DynamicToolProposal
from lab.schemas.dynamic_tool_request import DynamicToolRequest
from lab.schemas.dynamic_tool_update import DynamicToolUpdate
from lab.schemas.dynamic_tool_wish import DynamicToolWish
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model_profile import ModelProfile
from lab.schemas.response_format import ResponseFormat
from lab.schemas.response_kind import ResponseKind
from lab.schemas.role import Role
from lab.schemas.sandbox_end import SandboxEnd
from lab.schemas.sandbox_result import SandboxResult
from lab.schemas.tool import Tool
from lab.schemas.user import User
from lab.workflows.preferences import Preferences
from lab.workflows.tool_arguments import check_arguments, check_parameters
from lab.workflows.tool_code import MODULES, read_code
from lab.workflows.window import context_length_of

MOST_CODE_TOKENS: Final = 2048
"""Of an answer that writes a tool, and at most half of the model's window."""
WRITTEN: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$"},
        "code": {"type": "string"},
    },
    "required": ["name", "code"],
    "additionalProperties": False,
}
"""What a model answers that writes a tool."""


@dataclass(frozen=True)
class CallableTool:
    """A tool as a model is shown it, and what calls it: arguments to a text, or `LabError`."""

    tool: Tool
    call: Callable[[Mapping[str, Any]], Awaitable[str]]


class DynamicTools:
    """
    The tools of owners.

    Parameters
    ----------
    database : Database
        Where they are.
    pipelines : Pipelines
        Where models are.
    sandbox : Sandbox
        Where they run.
    preferences : Preferences
        What people have set.
    """

    def __init__(
        self,
        database: Database,
        pipelines: Pipelines,
        sandbox: Sandbox,
        preferences: Preferences,
    ) -> None:
        self._database = database
        self._pipelines = pipelines
        self._sandbox = sandbox
        self._preferences = preferences

    async def propose(self, owner: User, wish: DynamicToolWish) -> DynamicToolProposal:
        """
        Return a tool for a wish: the one that does it already, or one that a model writes.

        A tool that does something like it is what the model starts from, and stays as it is.

        Raises
        ------
        InputError
            If what the model wrote is no tool; nothing is stored.
        ConflictError
            If the owner has a tool of the name that the model chose.
        """
        settings = await self._preferences.settings_of(owner)
        config = settings.config.dynamic_tools
        near, similarity = await self._nearest(owner, wish.description)
        found = {"nearest": near and near.name, "similarity": similarity}
        if near and similarity is not None and similarity >= config.reuse_similarity:
            return DynamicToolProposal(tool=near, origin=DynamicToolOrigin.reused, **found)
        is_like = near and similarity is not None and similarity >= config.modify_similarity
        start = near if is_like else None
        analysis = settings.config.roles.analysis
        profile = await self._preferences.profile(owner, settings, wish.model, analysis)
        written = await self._written(owner, profile, wish.description, start)
        origin = DynamicToolOrigin.modified if start else DynamicToolOrigin.written
        try:
            tool = await self.add(owner, written)
        except InputError as error:
            raise InputError(_unusable(profile, str(error))) from error
        return DynamicToolProposal(tool=tool, origin=origin, **found)

    async def add(self, owner: User, request: DynamicToolRequest) -> DynamicTool:
        """
        Store a tool, not approved yet.

        Raises
        ------
        InputError
            If the code is no tool, or the parameters are not its.
        ConflictError
            If the owner has a tool of that name.
        """
        about = _about(request)
        async with self._pipelines.embedding() as embedding:
            (vector,) = await embedding.embed([about["description"]])
        async with self._database.stores(owner.id) as stores:
            return await stores.dynamic_tools.create(vector, model=embedding.signature, **about)

    async def change(self, owner: User, id: UUID, update: DynamicToolUpdate) -> DynamicTool:
        """Write a tool anew, which is approved no longer; raises what `add` does."""
        about = _about(update.tool)
        async with self._pipelines.embedding() as embedding:
            (vector,) = await embedding.embed([about["description"]])
        about |= {"embedding": vector, "embedding_model": embedding.signature}
        async with self._database.stores(owner.id) as stores:
            return await stores.dynamic_tools.update(id, update.version, **about)

    async def run(self, owner_id: UUID, id: UUID, arguments: Mapping[str, Any]) -> SandboxResult:
        """
        Call a tool, and return what came of it.

        Raises
        ------
        ConflictError
            If this version is not approved.
        InputError
            If the arguments do not keep its schema.
        ServiceError
            If code cannot be run safely here.
        """
        async with self._database.stores(owner_id) as stores:
            tool = await stores.dynamic_tools.get(id)
        if tool.approved_at is None:
            raise ConflictError(
                f"Version {tool.version} of `{tool.name}` waits for approval: read its code "
                f"(`lab tools show {tool.name}`), then `lab tools approve {tool.name} "
                f"{tool.version}`."
            )
        check_arguments(tool.name, tool.parameters, arguments)
        return await self._sandbox.run_python(tool.code, function=tool.name, arguments=arguments)

    async def callable(self, owner_id: UUID) -> list[CallableTool]:
        """
        Return the approved tools of an owner, by name, for a model.

        A call looks the tool up again: one that was changed meanwhile does not run unread.
        """
        async with self._database.stores(owner_id) as stores:
            approved = await stores.dynamic_tools.approved()
        return [
            CallableTool(
                Tool(name=tool.name, description=tool.description, parameters=tool.parameters),
                partial(self._called, owner_id, tool.id),
            )
            for tool in approved
        ]

    async def _called(self, owner_id: UUID, id: UUID, arguments: Mapping[str, Any]) -> str:
        return told(await self.run(owner_id, id, arguments))

    async def _nearest(self, owner: User, wish: str) -> tuple[DynamicTool | None, float | None]:
        """Return the tool whose description is nearest to a wish, and how near it is."""
        async with self._pipelines.embedding() as embedding:
            await self._renew(owner, embedding)
            (vector,) = await embedding.embed([wish])
            async with self._database.stores(owner.id) as stores:
                found = await stores.dynamic_tools.nearest(
                    vector, model=embedding.signature, limit=1
                )
        return found[0] if found else (None, None)

    async def _renew(self, owner: User, embedding: EmbeddingPipeline) -> None:
        """Embed the tools anew that another model embedded: they are compared with a wish."""
        async with self._database.stores(owner.id) as stores:
            tools = await stores.dynamic_tools.waiting(embedding.signature)
        if not tools:
            return
        vectors = await embedding.embed([tool.description for tool in tools])
        async with self._database.stores(owner.id) as stores:
            for tool, vector in zip(tools, vectors, strict=True):
                await stores.dynamic_tools.renew(tool, vector, model=embedding.signature)

    async def _written(
        self, owner: User, profile: ModelProfile, wish: str, start: DynamicTool | None
    ) -> DynamicToolRequest:
        """Let a model write a tool; what it costs is stored, whatever it writes."""
        async with self._database.stores(owner.id) as stores:
            taken = [tool.name for tool in await stores.dynamic_tools.all()]
        async with self._pipelines.chat(profile.model, purpose="tools", owner=owner.id) as chat:
            if chat.model.is_demo:
                raise InputError(_unusable(profile, "It demonstrates the lab and writes no code."))
            parameters = GenerationParameters(
                max_new_tokens=min(context_length_of(chat) // 2, MOST_CODE_TOKENS),
                temperature=0,
                seed=0,
                response_format=ResponseFormat(
                    type=ResponseKind.json_schema,
                    json_schema={"name": "tool", "schema": WRITTEN, "strict": False},
                ),
            )
            try:
                answer = await run_pipeline(chat, _prompt(wish, start, taken), parameters)
            except InputError as error:
                raise rebuild(error.code, _unusable(profile, str(error))) from error
        async with self._database.stores(owner.id) as stores:
            await stores.usage.add(profile.model, profile.id, answer.usage)
        return _request(profile, wish, answer)


def python_tool(sandbox: Sandbox) -> CallableTool:
    """Return the tool by which a model runs Python of its own; a toolbox checks arguments."""

    async def call(arguments: Mapping[str, Any]) -> str:
        return told(await sandbox.run_python(arguments["code"]))

    tool = Tool(
        name="python",
        description=(
            "Runs Python code, and shows what it prints and the value of its last line. There is "
            "the standard library, no network, and no file from one call to the next."
        ),
        parameters={
            "type": "object",
            "properties": {"code": {"type": "string", "description": "Python source."}},
            "required": ["code"],
            "additionalProperties": False,
        },
    )
    return CallableTool(tool, call)


def told(result: SandboxResult) -> str:
    """
    Return what code printed and returned, as a model is told.

    Raises
    ------
    CodeError
        If it was not done, with what it printed until then.
    """
    printed, value = _text(result.stdout.rstrip()), result.value
    if result.ended is not SandboxEnd.done:
        after = f" It had printed:\n{printed}" if printed else ""
        raise CodeError(f"The code failed. {_text(result.error or '')}{after}")
    if value is None:
        return printed or "The code ran, and neither printed nor returned anything."
    said = _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return f"{printed}\n{said}" if printed else said


def _text(said: str) -> str:
    """Return a text without NUL, which no message can hold."""
    return said.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _about(request: DynamicToolRequest) -> dict[str, Any]:
    """Return what is stored of a tool, or raise `InputError` where it is none."""
    read = read_code(request.code, request.name)
    description = (request.description or read.description).strip()
    if not description:
        raise InputError(
            f"`{request.name}` has no description, by which it is found and models know what it "
            "does; give one, or the function a docstring."
        )
    if request.parameters is not None:
        check_parameters(request.parameters, read.parameters)
    return {
        "name": request.name,
        "description": description,
        "parameters": read.parameters if request.parameters is None else request.parameters,
        "code": request.code,
    }


def _prompt(wish: str, start: DynamicTool | None, taken: Sequence[str]) -> list[ChatMessage]:
    instruction = TOOL_INSTRUCTION.format(modules=", ".join(sorted(MODULES)))
    if taken:
        instruction += TAKEN_INSTRUCTION + ", ".join(taken)
    asked = wish + (START_INSTRUCTION + start.code if start else "")
    return [
        ChatMessage(role=Role.system, content=instruction),
        ChatMessage(role=Role.user, content=asked),
    ]


def _request(profile: ModelProfile, wish: str, answer: ChatResult) -> DynamicToolRequest:
    try:
        written = json.loads(answer.content)
        return DynamicToolRequest(name=written["name"], description=wish, code=written["code"])
    except (ValueError, KeyError, TypeError) as error:
        why = "its values are not a tool's" if isinstance(error, ValidationError) else str(error)
        raise InputError(
            _unusable(profile, f"Its answer is no JSON of a name and code ({why}).")
        ) from None


def _unusable(profile: ModelProfile, why: str) -> str:
    return (
        f"`{profile.id}` wrote no tool that can be used. {why} Say the wish otherwise, let another "
        "model write it (`--model NAME`, or `lab models use NAME --role analysis`), or give the "
        "code yourself (`lab tools add NAME --code FILE`)."
    )
