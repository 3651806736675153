"""Answers that are held to a form, from a model that writes at random."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from transformers import AutoTokenizer

from lab.errors import InputError
from lab.pipelines import run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.grammar import Grammars
from lab.pipelines.json_schema import ENFORCED
from lab.pipelines.load import load_chat
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task
from lab.schemas.tool import Tool
from lab.training.evaluate import MODEL_FOLDER
from tests.tiny_llama import save_tiny_llama

SCHEMAS = int(os.environ.get("LAB_TEST_SCHEMAS", "100"))
"""How many random schemas the test of all of them takes; more by the environment."""

HELLO = [ChatMessage(role=Role.user, content="kami tore sunla")]
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "name": {"type": "string", "maxLength": 8}},
    "required": ["x", "name"],
    "additionalProperties": False,
}
NESTED = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "boolean"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


TOKENIZER = AutoTokenizer.from_pretrained(MODEL_FOLDER)
GRAMMARS = Grammars(TOKENIZER, len(TOKENIZER), frozenset([2]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "wide-llama", 2048)


@pytest.fixture(scope="module")
async def chat(folder: Path) -> AsyncIterator[TransformersChat]:
    model = Model(id="tiny", task=Task.chat, source=str(folder))
    chat = load_chat(model, ChatConfig(model=str(folder), threads=1))
    yield chat
    chat.close()


def closing(chat: TransformersChat) -> dict[str, float]:
    """Return a bias by which a random model ends its strings and lists sooner or later."""
    ids = [chat._tokenizer.encode(text) for text in ('"', "}", "]", ":", "1", "0")]
    return {str(tokens[0]): 12 for tokens in ids if len(tokens) == 1}


async def answer(
    chat: TransformersChat, schema: Any, tools: tuple[Tool, ...] = (), **parameters: Any
) -> ChatResult:
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    asked = {
        "temperature": 1,
        "seed": 1,
        "max_new_tokens": 600,
        "logit_bias": closing(chat),
        **({} if tools else {"response_format": form}),
        **parameters,
    }
    return await run_pipeline(chat, HELLO, GenerationParameters.model_validate(asked), tools)


def is_valid(text: str, schema: Any) -> bool:
    checker = FormatChecker(["uuid", "ipv4", "ipv6"])  # a date may be of the year 0, not Python's
    return Draft202012Validator(schema, format_checker=checker).is_valid(json.loads(text))


@pytest.mark.parametrize("schema", [POINT, NESTED, {"type": "object"}, {"enum": ["a", 1, None]}])
async def test_random_answers_are_what_the_schema_says(chat: TransformersChat, schema: Any) -> None:
    results = await asyncio.gather(*(answer(chat, schema, seed=i) for i in range(12)))

    ended = [one for one in results if one.finish_reason is FinishReason.stop]
    assert ended
    assert all(is_valid(one.content, schema) for one in ended)
    assert {one.finish_reason for one in results} <= {FinishReason.stop, FinishReason.length}


async def test_json_object_is_some_object(chat: TransformersChat) -> None:
    asked = {"response_format": {"type": "json_object"}}

    results = [await answer(chat, None, (), **asked, seed=i) for i in range(6)]

    ended = [one for one in results if one.finish_reason is FinishReason.stop]
    assert ended
    assert all(isinstance(json.loads(one.content), dict) for one in ended)


async def test_what_the_limit_cuts_says_so(chat: TransformersChat) -> None:
    result = await answer(chat, POINT, max_new_tokens=5)

    assert result.finish_reason is FinishReason.length
    assert result.content.startswith("{")


async def test_held_answers_are_the_same_alone_and_beside_free_ones(chat: TransformersChat) -> None:
    alone = [await answer(chat, schema, seed=i) for i, schema in enumerate([POINT, NESTED] * 3)]
    free = {"response_format": None, "max_new_tokens": 60}

    together = await asyncio.gather(
        *(answer(chat, schema, seed=i) for i, schema in enumerate([POINT, NESTED] * 3)),
        *(answer(chat, None, (), **free, seed=i) for i in range(6)),
    )

    assert [one.content for one in together[:6]] == [one.content for one in alone]
    assert [one.content for one in together[6:]] == [
        (await answer(chat, None, (), **free, seed=i)).content for i in range(6)
    ]


async def test_several_answers_are_each_held(chat: TransformersChat) -> None:
    result = await answer(chat, POINT, n=4)

    choices = [result, *result.alternatives]
    ended = [one for one in choices if one.finish_reason is FinishReason.stop]
    assert len(choices) == 4
    assert ended
    assert all(is_valid(one.content, POINT) for one in ended)


async def test_an_answer_is_held_after_the_model_thought(chat: TransformersChat) -> None:
    """The random model is led to its end by a bias; it may not end its turn before."""
    tokenizer = chat._tokenizer
    markers = {str(i): 9 for i in tokenizer.encode("</think>")}
    bias = {**closing(chat), **markers, str(tokenizer.eos_token_id): 20}

    results = [
        await answer(chat, POINT, seed=i, enable_thinking=True, logit_bias=bias, max_new_tokens=900)
        for i in range(8)
    ]

    ended = [one for one in results if one.finish_reason is FinishReason.stop]
    assert all(is_valid(one.content, POINT) for one in ended)
    assert all("</think>" not in one.thinking for one in results)


TOOLS = (
    Tool(name="move", parameters=POINT),
    Tool(name="walk", parameters=NESTED),
    Tool(name="rest"),
)


@pytest.mark.parametrize("name", [None, "move", "walk", "rest"])
async def test_a_forced_call_is_a_call_that_its_tool_takes(
    chat: TransformersChat, name: str | None
) -> None:
    choice = {"mode": "required", "name": name}
    by_name: dict[str, Any] = {tool.name: tool.parameters or {"type": "object"} for tool in TOOLS}

    results = [await answer(chat, None, tools=TOOLS, seed=i, tool_choice=choice) for i in range(6)]

    ended = [one for one in results if one.finish_reason is not FinishReason.length]
    assert ended
    for one in ended:
        assert one.finish_reason is FinishReason.tool_calls
        assert one.content == ""
        [call] = one.tool_calls
        assert name in (None, call.name)
        assert Draft202012Validator(by_name[call.name]).is_valid(call.arguments)


@pytest.mark.parametrize(
    ("parameters", "tools", "says"),
    [
        ({"tool_choice": {"mode": "required"}}, (), "wants a tool called.*are: none"),
        (
            {"tool_choice": {"mode": "required", "name": "fly"}},
            TOOLS,
            "`fly` called.*`move`, `walk`, `rest`",
        ),
        ({"stop": ["}"]}, (), "`stop` would cut"),
        ({"response_format": {"type": "json_schema"}}, (), "`response_format` needs"),
        ({"response_format": {"type": "json_object"}}, TOOLS, "cannot go together"),
    ],
)
async def test_a_request_that_contradicts_itself_is_refused(
    chat: TransformersChat, parameters: dict[str, Any], tools: tuple[Tool, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        await answer(chat, POINT, tools=tools, **parameters)

    assert chat.engine.stats.active == 0


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (False, "schema is false"),
        ([1], "it must be an object"),
        ("{}", "it must be an object"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, r"minimum \(5\) is greater than"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength"),
        ({"enum": []}, "empty"),
        ({"type": "string", "const": 3}, "incompatible types"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "property 'a'"),
        ({"type": "array", "items": False, "minItems": 1}, "required item"),
        ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6}, "multiple of 7"),
        ({"$ref": "#"}, "no finite JSON"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "no finite JSON",
        ),
        (
            {"$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}, "minItems": 1}}}
            | {"$ref": "#/$defs/l"},
            "no finite JSON",
        ),
        ({"type": "array", "uniqueItems": True}, "`uniqueItems` at # cannot be enforced"),
        ({"properties": {"a": {"not": {}}}}, "`not` at #/properties/a cannot be enforced"),
        ({"type": "integer", "minimun": 3}, "did you mean `minimum`"),
        ({"x-guidance": {"lenient": True}, "type": "array"}, "`x-guidance`"),
        (
            {"oneOf": [{"type": "integer"}, {"type": "number"}]},
            "oneOf constraints are not supported",
        ),
        ({"type": "strin"}, "at #/type, 'strin' is not valid"),
        ({"items": {"required": "a"}}, "at #/items/required, 'a' is not of type 'array'"),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"type": "string", "pattern": "("}, "regex parse error"),
        ({"type": "string", "pattern": '^"'}, "asks for what JSON escapes"),
        ({"type": "string", "pattern": r"^\x01"}, "asks for what JSON escapes"),
        ({"const": "\x01"}, "control character"),
        ({"const": 'a"b', "properties": {"a": {"pattern": "^a$"}}}, "a quote or backslash beside"),
        ({"$ref": "#/$defs/x"}, "does not exist"),
        ({"$ref": "https://example.com/x.json"}, "example.com"),
        ({"type": "object", "minProperties": 2}, "`minProperties` at # cannot be enforced"),
        ({"enum": ["x" * 100_001]}, "it is too long"),
    ],
)
async def test_a_schema_that_cannot_be_held_is_refused(
    chat: TransformersChat, schema: Any, says: str
) -> None:
    """Before anything runs; the next answer comes."""
    with pytest.raises(InputError, match=says) as caught:
        await answer(chat, schema)

    assert "No answer can be held to this schema" in str(caught.value)
    assert chat.engine.stats.active == 0


@pytest.mark.parametrize("n_levels", [200, 900])
async def test_a_schema_too_deep_is_refused(chat: TransformersChat, n_levels: int) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    value: list[Any] = []
    for _ in range(n_levels):
        schema, value = {"type": "array", "items": schema}, [value]

    for deep in (schema, {"const": value, "default": schema}):
        with pytest.raises(InputError, match=r"too deep|recursion limit"):
            await answer(chat, deep)


async def test_a_schema_that_becomes_too_complex_ends_its_own_answer_only(
    chat: TransformersChat,
) -> None:
    nasty = {"type": "string", "pattern": "^((a{1,200}){1,200}){1,200}$"}
    [quote] = chat._tokenizer.encode('"')

    with pytest.raises(InputError, match="too complex"):
        await answer(chat, nasty, logit_bias={str(quote): -100}, max_new_tokens=600)

    assert (await answer(chat, POINT)).content


def names() -> st.SearchStrategy[str]:
    return st.text("abcé_ /", min_size=1, max_size=4)


def texts() -> st.SearchStrategy[dict[str, Any]]:
    lengths = st.tuples(st.integers(0, 3), st.integers(0, 5)).map(
        lambda pair: {"type": "string", "minLength": pair[0], "maxLength": sum(pair)}
    )
    patterns = st.sampled_from(
        ["^[a-z]{1,3}$", '^[^"]{1,2}$', r"^\d+-\d$", "^(yes|no)$", r"^[^\\a]?$", "^[ -~]{2}$"]
    ).map(lambda pattern: {"type": "string", "pattern": pattern})
    formats = st.sampled_from(["uuid", "date", "ipv4", "ipv6"]).map(
        lambda name: {"type": "string", "format": name}
    )
    return st.one_of(lengths, patterns, formats)


def numbers() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(st.integers(-50, 50), st.integers(0, 60))
    integers = bounds.map(
        lambda pair: {"type": "integer", "minimum": pair[0], "maximum": sum(pair)}
    )
    open_ended = bounds.map(lambda pair: {"type": "number", "exclusiveMinimum": pair[0]})
    steps = st.integers(2, 9).map(
        lambda n: {"type": "integer", "multipleOf": n, "minimum": -n, "maximum": 5 * n}
    )
    decimals = bounds.map(
        lambda pair: {"type": "number", "minimum": pair[0] / 4, "maximum": sum(pair) / 4 + 0.5}
    )
    return st.one_of(integers, open_ended, steps, decimals)


def leaves() -> st.SearchStrategy[Any]:
    values = st.one_of(names(), st.integers(-5, 5), st.booleans(), st.none())
    return st.one_of(
        texts(),
        numbers(),
        st.sampled_from(["boolean", "null", ["integer", "null"]]).map(lambda t: {"type": t}),
        st.lists(values, min_size=1, max_size=3).map(lambda found: {"enum": found}),
        values.map(lambda value: {"const": value}),
    )


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
        lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[1] + t[2]}
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda found: {
            "type": "array",
            "prefixItems": found,
            "items": False,
            "minItems": len(found) - 1,
        }
    )
    return st.one_of(lists, tuples)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    properties = draw(st.dictionaries(names(), inner, max_size=4))
    required = (
        draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    )
    more = draw(st.one_of(st.just(False), inner, st.just(None)))
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if draw(st.booleans()):
        schema["maxProperties"] = len(properties) + 2
    return schema if more is None else {**schema, "additionalProperties": more}


def schemas() -> st.SearchStrategy[Any]:
    """Return schemas of many kinds; some of them the lab refuses."""
    return st.recursive(
        leaves(),
        lambda inner: st.one_of(
            arrays(inner),
            objects(inner),
            st.lists(inner, min_size=1, max_size=3).map(lambda found: {"anyOf": found}),
            st.lists(inner, min_size=1, max_size=2).map(lambda found: {"oneOf": found}),
            st.tuples(inner, inner).map(lambda pair: {"allOf": list(pair)}),
        ),
        max_leaves=6,
    )


def anything() -> st.SearchStrategy[Any]:
    """Return what may be sent for a schema by somebody who does not know what one is."""
    keywords = st.sampled_from(sorted(ENFORCED))
    words = st.sampled_from(["object", "array", "string", "#", "#/properties/a", "é" * 70])
    values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4), words)
    return st.recursive(
        values,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.one_of(keywords, st.text(max_size=3)), inner, max_size=4),
            st.dictionaries(keywords, inner, max_size=4),
        ),
        max_leaves=12,
    )


@settings(max_examples=300, deadline=None)
@given(anything())
def test_anything_is_compiled_or_refused(schema: Any) -> None:
    with contextlib.suppress(InputError):
        GRAMMARS.matcher(schema)


def test_random_answers_to_random_schemas_validate(folder: Path) -> None:
    """`LAB_TEST_SCHEMAS` says how many; a schema may be refused, but only by name."""
    model = Model(id="tiny", task=Task.chat, source=str(folder))
    chat = load_chat(model, ChatConfig(model=str(folder), threads=1))
    tallies = {"valid": 0, "cut": 0, "refused": 0}

    async def ask(schema: Any, seed: int) -> list[ChatResult]:
        asked = (answer(chat, schema, seed=seed + i, max_new_tokens=250) for i in range(4))
        return await asyncio.gather(*asked)

    @settings(
        max_examples=SCHEMAS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=SCHEMAS == 100,
        database=None,
    )
    @given(schemas(), st.integers(0, 1_000_000))
    def check(schema: Any, seed: int) -> None:
        try:
            results = asyncio.run(ask(schema, seed))
        except InputError:
            tallies["refused"] += 1
            return
        for one in results:
            if one.finish_reason is FinishReason.length:
                tallies["cut"] += 1
                continue
            assert one.finish_reason is FinishReason.stop
            assert is_valid(one.content, schema), (schema, one.content)
            tallies["valid"] += 1

    check()
    chat.close()
    assert tallies["valid"] > SCHEMAS, tallies
    assert tallies["refused"] < SCHEMAS / 2, tallies
