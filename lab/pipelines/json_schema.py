"""
What the lab can hold an answer to of JSON Schema, and what it refuses before anything runs.

The grammar library (llguidance) refuses most of what it cannot enforce. This module adds what it
would let pass: keywords that it does not know, recursion that never ends, keys that may be written
twice, and texts that its escapes would change.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, SchemaError

from lab.errors import InputError

Schema = Mapping[str, Any] | bool

ENFORCED = {
    "type",
    "enum",
    "const",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    "$id",
    "$schema",
    "$anchor",
}
ANNOTATIONS = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "contentEncoding",
    "contentMediaType",
    "discriminator",
}
GUIDANCE = "x-guidance"
"""Options of the grammar library, which could switch its strictness off."""

MOST_CHARACTERS = 100_000
MOST_LEVELS = 64
MOST_SHOWN = 200
"""Characters of a reason that is not the lab's own."""

CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""Characters that JSON writes only by their number."""
QUOTED = re.compile(r'["\\]')
NEGATED = re.compile(r"\[\^(?:\\.|[^\]\\])*\]")
NUMBERED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]+)\}|([0acevE]))")


def check_schema(schema: Any) -> bool:
    """
    Raise `InputError` for a schema that cannot be enforced; return True if it has patterns.

    Where a schema has patterns, no string of the answer may hold a quote or a backslash: the
    library would write them into strings whose pattern has no place for them.
    """
    if not isinstance(schema, dict | bool):
        raise refused("it must be an object", f"got {type(schema).__name__}")
    nodes = list(nodes_of(schema))
    _check_shape(schema)
    for place, node in nodes:
        _check_keywords(place, node)
        _check_keys(place, node)
    patterned = any("pattern" in node or "patternProperties" in node for _, node in nodes)
    for place, node in nodes:
        _check_texts(place, node, patterned=patterned)
    return patterned


def check_ends(schema: Schema) -> None:
    """Raise `InputError` for a schema of which every JSON would be infinite."""
    if not _ends(schema):
        raise refused("no finite JSON satisfies it", "a part that is required contains itself")


def refused(why: str, details: str = "") -> InputError:
    """Return the error for a schema."""
    return InputError(f"No answer can be held to this schema: {why}{details and f' ({details})'}.")


def _check_shape(schema: Schema) -> None:
    """Refuse what is no JSON Schema at all, such as a `type` that is a number."""
    try:
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker([]))
    except SchemaError as error:
        place = "/".join(["#", *map(str, error.absolute_path)])
        raise refused(f"at {place}, {error.message[:MOST_SHOWN]}") from None


def nodes_of(schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema in a schema that is an object, with its place as a JSON pointer."""
    waiting: list[tuple[str, Any, int]] = [("#", schema, 0)]
    while waiting:
        place, node, level = waiting.pop()
        if level > MOST_LEVELS:
            raise refused("it is too deep", f"more than {MOST_LEVELS} levels")
        if isinstance(node, dict):
            yield place, node
            waiting.extend((f"{place}/{k}", inner, level + 1) for k, inner in _inner(node))


def _inner(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("items", "additionalProperties"):
        yield key, node.get(key)
    for key in ("prefixItems", "anyOf", "oneOf", "allOf"):
        listed = node.get(key)
        yield from (
            (f"{key}/{i}", inner)
            for i, inner in enumerate(listed if isinstance(listed, list) else [])
        )
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        named = node.get(key)
        yield from (
            (f"{key}/{name}", inner)
            for name, inner in (named.items() if isinstance(named, dict) else [])
        )


def _check_keywords(place: str, node: Mapping[str, Any]) -> None:
    for keyword in node:
        known = keyword in ENFORCED or keyword in ANNOTATIONS
        if known or (keyword.startswith("x-") and keyword != GUIDANCE):
            continue
        near = difflib.get_close_matches(keyword, ENFORCED, 1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise refused(f"`{keyword}` at {place} cannot be enforced{hint}", "leave it out")


def _check_keys(place: str, node: Mapping[str, Any]) -> None:
    """Refuse a least number of keys where free names could be written twice, and count once."""
    least, required = node.get("minProperties", 0), node.get("required", [])
    if not (isinstance(least, int) and isinstance(required, list)):
        return
    names_are_free = node.get("additionalProperties") is not False or "patternProperties" in node
    if names_are_free and least - len(set(map(str, required))) > 1:
        raise refused(
            f"`minProperties` at {place} cannot be enforced where names are free",
            "name the properties, and set `additionalProperties` to false",
        )


def _check_texts(place: str, node: Mapping[str, Any], *, patterned: bool) -> None:
    for text in _texts(node):
        if CONTROL.search(text):
            raise refused(f"{text!r} at {place} holds a control character")
        if patterned and QUOTED.search(text):
            raise refused(f"{text!r} at {place} holds a quote or backslash beside a `pattern`")
    for pattern in _patterns(node):
        rest = NEGATED.sub("", pattern)
        if '"' in rest or "\\\\" in rest or any(map(_unwritable, NUMBERED.finditer(rest))):
            raise refused(
                f"the pattern {pattern!r} at {place} asks for what JSON escapes",
                "a quote, backslash or control character",
            )


def _texts(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts that an answer must repeat as they are."""
    for key in ("const", "enum"):
        yield from _strings(node.get(key))
    for key in ("properties", "required"):
        yield from (name for name in node.get(key) or [] if isinstance(name, str))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from _strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _patterns(node: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(node.get("pattern"), str):
        yield node["pattern"]
    if isinstance(node.get("patternProperties"), dict):
        yield from node["patternProperties"]


def _unwritable(escape: re.Match[str]) -> bool:
    """Return True for an escape that stands for a quote, backslash or control character."""
    number = escape[1] or escape[2] or escape[3]
    return number is None or int(number, 16) < 32 or int(number, 16) in (34, 92, 127)


def _ends(schema: Schema) -> bool:
    """
    Return True unless every JSON that satisfies the schema would be infinite.

    The least fixed point: what refers to itself ends if it does so by a part that may be absent.
    """
    ends: dict[str, bool] = {}
    while True:
        before = dict(ends)
        found = _ends_given(schema, schema, ends)
        for pointer in list(ends):
            ends[pointer] = _ends_given(_at(schema, pointer), schema, ends)
        if ends == before:
            return found


def _ends_given(node: Any, root: Schema, ends: dict[str, bool]) -> bool:
    if not isinstance(node, dict):
        return node is not False
    if isinstance(node.get("$ref"), str) and not ends.setdefault(node["$ref"], False):
        return False

    def all_end(parts: Any) -> bool:
        return all(_ends_given(part, root, ends) for part in parts)

    for key in ("anyOf", "oneOf"):
        choices = node.get(key)
        if isinstance(choices, list) and not any([all_end([choice]) for choice in choices]):
            return False
    needed = {"object": _needed_properties, "array": _needed_items}
    types = node.get("type")
    listed = [types] if isinstance(types, str) else types if isinstance(types, list) else [""]
    some = any([all_end(needed[t](node)) if t in needed else True for t in listed])
    return some and all_end(node.get("allOf") or [])


def _needed_properties(node: Mapping[str, Any]) -> list[Any]:
    properties, required = node.get("properties") or {}, node.get("required") or []
    return [properties.get(name, node.get("additionalProperties", True)) for name in required]


def _needed_items(node: Mapping[str, Any]) -> list[Any]:
    prefix, least = node.get("prefixItems") or [], node.get("minItems") or 0
    rest = [node.get("items", True)] if least > len(prefix) else []
    return [*prefix[:least], *rest]


def _at(schema: Schema, pointer: str) -> Any:
    """Return what a reference within the schema points to; True for any other."""
    if not pointer.startswith("#"):
        return True
    found: Any = schema
    for step in filter(None, pointer[1:].split("/")):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return True
    return found
