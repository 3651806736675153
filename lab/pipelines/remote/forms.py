"""
The form that an answer of another server must have.

Servers enforce a schema each in their own way, some keywords not at all, and one that contradicts
itself makes llama.cpp's hang. So a schema is looked at before it is sent as the lab's own engine
looks at it, and the whole answer when it has come.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from llguidance import LLMatcher, LLTokenizer

from lab.pipelines.compiling import compiled, written
from lab.pipelines.form import ANY_OBJECT, Form, called_tools, form_of
from lab.pipelines.json_schema import nodes_of, refused
from lab.pipelines.remote.keeping import why_broken
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_choice import ToolChoice

BOUNDS: Final = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)
REPEATED: Final = re.compile(r"\{(\d+),(\d+)\}")

KEPT_SCHEMAS: Final = 64


def checked_form(parameters: GenerationParameters, tools: Sequence[Tool]) -> Form | None:
    """
    Return the form that the answer must have; takes up to a second, mostly without the GIL.

    Parameters
    ----------
    parameters : GenerationParameters
        What the request asks for.
    tools : sequence of Tool
        Those that the server is told of.

    Raises
    ------
    InputError
        If the request contradicts itself, or no answer can be held to its schemas.
    """
    form = form_of(parameters, tools)
    if form is not None:
        written(form.schema, _compiled)
        _check_bounds(form.schema, "")
    for tool in tools:  # servers make a grammar of those too that need not be called
        _check_bounds(tool.parameters, f"of the tool `{tool.name}`, ")
    return form


def why_unkept(
    parameters: GenerationParameters,
    tools: Sequence[Tool],
    content: str,
    calls: Sequence[ToolCall],
) -> str:
    """
    Return what of a whole answer does not keep to its form, and where; empty if all does.

    Parameters
    ----------
    parameters : GenerationParameters
        What the request asks for.
    tools : sequence of Tool
        Those that the server is told of.
    content : str
        The answer's text.
    calls : sequence of ToolCall
        What it calls.
    """
    form = form_of(parameters, tools)
    if form is None:
        return ""
    if not form.is_call:
        return why_broken(content, form.schema) if _is_strict(parameters) else ""
    if not calls:
        return "a tool had to be called, and none was"
    may_be_called = called_tools(parameters.tool_choice or ToolChoice(), tools)
    schemas = {tool.name: {**ANY_OBJECT, **tool.parameters} for tool in may_be_called}
    found = (_why_call(call, schemas) for call in calls)
    return next(filter(None, found), "")


def _is_strict(parameters: GenerationParameters) -> bool:
    """Return False where who asks looks at the answer themselves."""
    asked = parameters.response_format
    return asked is None or (asked.json_schema or {}).get("strict") is not False


def _why_call(call: ToolCall, schemas: Mapping[str, Any]) -> str:
    if call.name not in schemas:
        return f"`{call.name}` is none of the tools that it may call"
    why = why_broken(json.dumps(call.arguments), schemas[call.name])
    return why and f"the arguments of `{call.name}`: {why}"


@lru_cache(KEPT_SCHEMAS)
def _compiled(text: str) -> LLMatcher:
    return compiled(text, LLTokenizer("byte"))


def _check_bounds(schema: Any, whose: str) -> None:
    """Refuse bounds that contradict each other, even where a part may be left out."""
    for place, node in nodes_of(schema):
        for low, high in BOUNDS:
            least, most = node.get(low), node.get(high)
            if _is_above(least, most):
                raise refused(f"{whose}at {place}, `{low}` is above `{high}`", f"{least}, {most}")
        pattern = node.get("pattern")
        for least, most in REPEATED.findall(pattern if isinstance(pattern, str) else ""):
            if int(least) > int(most):
                raise refused(
                    f"{whose}the pattern {pattern!r} at {place} repeats {least} to {most}"
                )


def _is_above(least: Any, most: Any) -> bool:
    return isinstance(least, int | float) and isinstance(most, int | float) and least > most
