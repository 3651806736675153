"""
JSON Schemas that other servers wrote, made such that they can be shown to models and checked.

A pattern may take forever, a reference may lead to a file or a server, and both would be followed
while everybody waits. What is left out refuses nothing, so what remains refuses nothing that the
server would take; the server checks the rest itself.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from jsonschema import Draft202012Validator, SchemaError

from lab.errors import InputError, cut

NOTES: Final = frozenset(["title", "description", "default", "examples", "deprecated"])
"""Keywords that only tell."""
SAYS: Final = frozenset(
    [
        *NOTES,
        *("type", "enum", "const", "format", "required", "dependentRequired"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
        *("minProperties", "maxProperties"),
    ]
)
"""Keywords that hold no schemas."""
MOST_LEVELS: Final = 16
"""Of schemas in each other; deeper, anything goes."""
MOST_PARTS: Final = 1000
"""Schemas in a schema, a reference counted as what it leads to."""
MOST_CHARACTERS: Final = 50_000
TOO_LARGE: Final = "the schema of its arguments is too large"


def plain_parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a schema of arguments without patterns, and with what it refers to in its place.

    >>> plain_parameters({"properties": {"day": {"$ref": "#/$defs/d"}}, "$defs": {"d": {}}})
    {'properties': {'day': {}}}

    Raises
    ------
    InputError
        If it is no JSON Schema, is too large, or refers to what does not stand in it.
    """
    plain = _Plain(schema).of(schema)
    try:
        n_characters = len(json.dumps(plain))
        Draft202012Validator.check_schema(plain)
    except (SchemaError, ValueError, RecursionError) as error:
        said = error.message if isinstance(error, SchemaError) else str(error)
        raise InputError(f"its arguments are described by no JSON Schema: {cut(said)}") from None
    if n_characters > MOST_CHARACTERS:
        raise InputError(TOO_LARGE)
    assert isinstance(plain, dict), "what is a mapping stays one"
    return plain


class _Plain:
    """A schema that is made plain, for what refers to parts of it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._n_parts = 0

    def of(self, schema: Any, above: tuple[str, ...] = (), level: int = 0) -> Any:
        """Return a schema of it made plain; `above` are the references that led here."""
        self._n_parts += 1
        if self._n_parts > MOST_PARTS:
            raise InputError(TOO_LARGE)
        if not isinstance(schema, Mapping):
            return schema  # true, false, or wrong, which the schema of schemas says
        if level >= MOST_LEVELS:
            return {}
        plain = {key: value for key, value in schema.items() if key in SAYS}
        plain |= self._inner(schema, above, level + 1)
        if "$ref" not in schema:
            return plain
        place = str(schema["$ref"])
        there = {} if place in above else self.of(self._at(place), (*above, place), level + 1)
        if plain.keys() <= NOTES and isinstance(there, dict):
            return {**there, **plain}
        return {**plain, "allOf": [*plain.get("allOf", []), there]}

    def _inner(
        self, schema: Mapping[str, Any], above: tuple[str, ...], level: int
    ) -> dict[str, Any]:
        """Return what a schema says by schemas in it, but for what may refuse more without them."""
        found: dict[str, Any] = {}
        if isinstance(properties := schema.get("properties"), Mapping):
            found["properties"] = {n: self.of(s, above, level) for n, s in properties.items()}
        for key in ("oneOf", "anyOf", "allOf", "prefixItems"):
            if isinstance(several := schema.get(key), list):
                known = "anyOf" if key == "oneOf" else key
                found[known] = [self.of(inner, above, level) for inner in several]
        loose = {"additionalProperties"} if "patternProperties" in schema else set()
        for key in {"items", "additionalProperties", "propertyNames"} & schema.keys() - loose:
            found[key] = self.of(schema[key], above, level)
        return found

    def _at(self, reference: str) -> Any:
        """Return what stands where a reference leads."""
        steps = reference.split("/")
        found: Any = self._root
        for step in steps[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        if steps[0] != "#" or found is None:
            raise InputError(f"its arguments refer to `{cut(reference)}`, which is not in it")
        return found
