"""
Whether a text is JSON that keeps to a schema.

Numbers are compared as they are written. Patterns and formats mean what they mean to the lab's own
engine, and take a time that grows with the text alone, whatever the pattern.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from llguidance import LLMatcher, LLTokenizer
from referencing import Registry

from lab.errors import cut
from lab.pipelines.compiling import compiled

MOST_SAID: Final = 160
"""Characters that are said of what is wrong."""

MOST_REFERENCES: Final = 20_000
"""References that are followed: a small schema may have them followed without end."""

MOST_DIGITS: Final = 400
"""Places before or behind the point of a number that can be checked."""

KEPT_TEXTS: Final = 256

Keyword = Callable[[Any, Any, Any, Mapping[str, Any]], Iterator[ValidationError]]


class _TooMuchError(Exception):
    """A check that would take too long."""


def why_broken(text: str, schema: Any) -> str:
    """
    Return which keyword of a schema a text breaks, and where; empty where it keeps to it.

    >>> why_broken('{"n": 12}', {"properties": {"n": {"multipleOf": 7}}})
    '`multipleOf` at #/n: 12 is not a multiple of 7'
    >>> why_broken("[", {}), why_broken("3.0", {"type": "integer"})
    ('it is no JSON', '')
    """
    try:
        found, held = _read(text), _read(json.dumps(schema))
    except (ValueError, RecursionError):
        return "it is no JSON"
    if isinstance(held, dict):
        held.pop("$schema", None)  # what the lab holds answers to is of one dialect
    try:
        with localcontext() as context:
            context.prec = 4 * MOST_DIGITS
            error = next(_validator(held).iter_errors(found), None)
    except RecursionError:
        return "it is nested too deep to be checked"
    except _TooMuchError:
        return f"more than {MOST_REFERENCES:,} references of the schema apply to it"
    if error is None:
        return ""
    place = "/".join(["#", *map(str, error.absolute_path)])
    return f"`{error.validator}` at {place}: {cut(_plain(error), MOST_SAID)}"


def _plain(error: ValidationError) -> str:
    """Return what is said of an error, with numbers as they were written."""
    if error.validator == "multipleOf":
        return f"{error.instance} is not a multiple of {error.validator_value}"
    return str(error.message)


def _read(text: str) -> Any:
    return json.loads(text, parse_float=_number, parse_constant=_no_number)


def _number(text: str) -> int | Decimal:
    number = Decimal(text)
    if not number:
        return 0
    if abs(number.adjusted()) > MOST_DIGITS or len(text) > 2 * MOST_DIGITS:
        raise ValueError(text)
    return int(number) if number == number.to_integral_value() else number


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _validator(schema: Any) -> Any:
    follow, followed = Draft202012Validator.VALIDATORS["$ref"], 0

    def reference(
        validator: Any, ref: Any, instance: Any, node: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        nonlocal followed
        followed += 1
        if followed > MOST_REFERENCES:
            raise _TooMuchError
        yield from follow(validator, ref, instance, node) or ()

    # An empty registry: nothing is fetched.
    return extend(Draft202012Validator, {**OURS, "$ref": reference})(schema, registry=Registry())


def _text(keyword: str) -> Keyword:
    """Return the check of a keyword that the lab's own engine holds texts to."""

    def check(
        validator: Any, value: Any, instance: Any, node: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _matches(keyword, value, instance):
            yield ValidationError(f"{instance!r} does not match {value!r}")

    return check


def _named_by_pattern(
    validator: Any, patterns: Any, instance: Any, node: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _matches("pattern", pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _other_names(
    validator: Any, inner: Any, instance: Any, node: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = node.get("patternProperties", {})
    for name, value in instance.items():
        if name in node.get("properties", {}):
            continue
        if any(_matches("pattern", pattern, name) for pattern in patterns):
            continue
        if inner is False:
            yield ValidationError(f"{name!r} is no name that it may have")
        else:
            yield from validator.descend(value, inner, path=name)


OURS: Final[Mapping[str, Keyword]] = {
    "format": _text("format"),
    "pattern": _text("pattern"),
    "patternProperties": _named_by_pattern,
    "additionalProperties": _other_names,
}


def _matches(keyword: str, value: str, text: str) -> bool:
    written = json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")
    matcher = _matcher(keyword, value).deep_copy()
    return matcher.try_consume_tokens(list(written)) == len(written) and matcher.is_accepting()


@lru_cache(KEPT_TEXTS)
def _matcher(keyword: str, value: str) -> LLMatcher:
    return compiled(json.dumps({"type": "string", keyword: value}), LLTokenizer("byte"))
