"""What form an answer is asked to have: free text, JSON, or a call of a tool."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import InputError
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.response_format import ResponseFormat
from lab.schemas.response_kind import ResponseKind
from lab.schemas.tool import Tool
from lab.schemas.tool_choice import ToolChoice
from lab.schemas.tool_choice_mode import ToolChoiceMode

ANY_OBJECT: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Form:
    """A JSON Schema that the answer is held to; `is_call` where it is a call of a tool."""

    schema: Any
    is_call: bool = False


def shown_tools(parameters: GenerationParameters, tools: Sequence[Tool]) -> Sequence[Tool]:
    """Return the tools that the model is told of."""
    choice = parameters.tool_choice
    return () if choice is not None and choice.mode is ToolChoiceMode.none else tools


def form_of(parameters: GenerationParameters, tools: Sequence[Tool]) -> Form | None:
    """
    Return the form that the answer must have; None for free text.

    Raises
    ------
    InputError
        If the request contradicts itself.
    """
    choice, wanted = parameters.tool_choice or ToolChoice(), parameters.response_format
    required = choice.mode is ToolChoiceMode.required
    formatted = wanted is not None and wanted.type is not ResponseKind.text
    if not (required or formatted):
        return None
    if parameters.stop:
        raise InputError("`stop` would cut what is held to a format; leave one of both out.")
    if required:
        return Form(call_schema(called_tools(choice, tools)), is_call=True)
    if tools:
        raise InputError(
            "`response_format` and tools that the model may call cannot go together: choose by "
            '`tool_choice`, "none" or "required".'
        )
    return Form(_schema(wanted))


def called_tools(choice: ToolChoice, tools: Sequence[Tool]) -> Sequence[Tool]:
    """
    Return the tools of which one must be called.

    Raises
    ------
    InputError
        If there is none.
    """
    called = [tool for tool in tools if choice.name in (None, tool.name)]
    if not called:
        names = ", ".join(f"`{tool.name}`" for tool in tools) or "none"
        wanted = f"`{choice.name}`" if choice.name else "a tool"
        raise InputError(f"`tool_choice` wants {wanted} called, and the tools given are: {names}.")
    return called


def _schema(wanted: ResponseFormat | None) -> Any:
    if wanted is None or wanted.type is ResponseKind.json_object:
        return ANY_OBJECT
    given = wanted.json_schema or {}
    if "schema" not in given:
        raise InputError(
            '`response_format` needs {"json_schema": {"name": ..., "schema": ...}} where its type '
            "is `json_schema`."
        )
    return given["schema"]


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """Return the schema of a call of one of these tools."""
    place = "#/anyOf/{}/properties/arguments" if len(tools) > 1 else "#/properties/arguments"
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.name},
                "arguments": {**ANY_OBJECT, **rebased(tool.parameters, place.format(i))},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for i, tool in enumerate(tools)
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def rebased(schema: Any, place: str) -> Any:
    """
    Return a schema with its references moved to where it stands in another.

    >>> rebased({"$ref": "#/$defs/a"}, "#/items")
    {'$ref': '#/items/$defs/a'}
    """
    if isinstance(schema, list):
        return [rebased(part, place) for part in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: rebased(part, place) for key, part in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
