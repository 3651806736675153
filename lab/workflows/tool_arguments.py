"""What a tool is called with: the JSON Schema of its arguments, and arguments that keep it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator, SchemaError
from referencing import Registry

from lab.errors import InputError, cut, nearest

KEYWORDS: Final = frozenset(
    [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "title",
        "description",
        "default",
        "examples",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
    ]
)
"""What a schema may say. Patterns may take forever, and references lead elsewhere."""
MOST_LEVELS: Final = 16
NOWHERE: Final[Registry[Any]] = Registry()
"""Where references are looked up: nothing is fetched."""
MOST_SHOWN: Final = 200
"""Characters of a reason."""


def check_parameters(parameters: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """
    Refuse a schema of arguments that is none, or is another function's.

    Parameters
    ----------
    parameters : mapping
        The schema that was given.
    told : mapping
        The schema that the function's own arguments tell.

    Raises
    ------
    InputError
        If it is wrong.
    """
    _check_keywords(parameters, "parameters", MOST_LEVELS)
    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        raise InputError(
            f"`parameters` are no JSON Schema: {cut(error.message, MOST_SHOWN)}."
        ) from None
    if parameters.get("type") != "object":
        raise InputError('`parameters` must describe an object: {"type": "object", ...}.')
    named, taken = set(parameters.get("properties", {})), set(told["properties"])
    if named != taken:
        raise InputError(
            f"`parameters` name {_listed(named)}, and the function takes {_listed(taken)}; "
            "let both be the same."
        )
    if missing := set(told["required"]) - set(parameters.get("required", [])):
        raise InputError(
            f"{_listed(missing)} must be `required` in `parameters`, or have a default in the code."
        )


def check_arguments(name: str, parameters: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """
    Refuse arguments that do not keep a tool's schema.

    >>> check_arguments("add", {"properties": {"n": {}}, "required": ["n"]}, {})
    Traceback (most recent call last):
        ...
    lab.errors.InputError: `add` cannot be called so: 'n' is a required property; it takes `n`.

    Raises
    ------
    InputError
        With the first that is wrong.
    """
    found = Draft202012Validator(parameters, registry=NOWHERE).iter_errors(arguments)
    if error := min(found, key=lambda one: list(map(str, one.absolute_path)), default=None):
        place = ".".join(map(str, error.absolute_path))
        at = f"`{place}`: " if place else ""
        given = repr(error.instance)  # may be longer than all that is shown
        said = error.message.replace(given, cut(given, MOST_SHOWN // 2))
        raise InputError(
            f"`{name}` cannot be called so: {at}{cut(said, MOST_SHOWN)}; "
            f"it takes {_listed(set(parameters.get('properties', {})))}."
        )


def _check_keywords(schema: Any, place: str, levels: int) -> None:
    if not levels:
        raise InputError(f"`parameters` have more than {MOST_LEVELS} levels; make them simpler.")
    if not isinstance(schema, Mapping):
        return  # true, false, or wrong, which others say better
    for keyword in schema.keys() - KEYWORDS:
        known = sorted(KEYWORDS)
        raise InputError(
            f"`{place}` cannot say `{cut(keyword)}`.{nearest(keyword, known)} "
            f"What it can say: {', '.join(known)}."
        )
    for inner in _inner(schema):
        _check_keywords(inner, place, levels - 1)


def _inner(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the schemas in a schema."""
    properties, either = schema.get("properties"), schema.get("anyOf")
    yield from properties.values() if isinstance(properties, Mapping) else ()
    yield from either if isinstance(either, list) else ()
    yield schema.get("items")
    yield schema.get("additionalProperties")


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{cut(name)}`" for name in sorted(names)) or "no arguments"
