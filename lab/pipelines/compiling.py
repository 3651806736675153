"""From JSON Schemas to grammars, for any tokenizer: one of a model, or bytes."""

import json
from collections.abc import Callable
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from lab.pipelines.json_schema import MOST_CHARACTERS, MOST_SHOWN, check_ends, check_schema, refused

SPACE = r"[ \t\n\r]{0,30}"
"""White space between two parts: some, as writers indent, never without end."""

ESCAPES, PATTERNED_ESCAPES = '"\\bfnrt', "bfnrt"
"""Every character is written in one way, so that no key is another one in disguise."""


def written(schema: Any, use: Callable[[str], LLMatcher]) -> LLMatcher:
    """
    Return what is made of a schema's text.

    Raises
    ------
    InputError
        If it is false, too long or too deep.
    """
    if schema is False:
        raise refused("the schema is false")
    try:
        text = json.dumps({} if schema is True else schema)
        if len(text) > MOST_CHARACTERS:
            raise refused("it is too long", f"{len(text)} characters of {MOST_CHARACTERS}")
        return use(text)
    except RecursionError:
        raise refused("it is too deep") from None


def compiled(text: str, tokenizer: LLTokenizer) -> LLMatcher:
    """
    Return a matcher of a schema, at the beginning of an answer.

    Raises
    ------
    InputError
        If the schema cannot be enforced, or nothing satisfies it.
    """
    schema = json.loads(text)
    escapes = PATTERNED_ESCAPES if check_schema(schema) else ESCAPES
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            text, overrides={"whitespace_pattern": SPACE, "json_allowed_escapes": escapes}
        )
    except ValueError as error:  # it reads no more than 128 levels of JSON
        raise refused(_short(str(error))) from None
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    _check(matcher)
    check_ends(schema)
    matcher.compute_bitmask()
    _check(matcher)
    matcher.reset()
    return matcher


def _check(matcher: LLMatcher) -> None:
    """Raise `InputError` for what the library cannot enforce."""
    problems = [matcher.get_error()] if matcher.is_error() else matcher.get_grammar_warnings()
    if problems:
        raise refused(_short(problems[0]))


def _short(message: str) -> str:
    """Return the first and the last line of what the library says, without what is between."""
    lines = message.strip().splitlines()
    return " ".join(dict.fromkeys([lines[0], lines[-1]]))[:MOST_SHOWN].rstrip(".")
