"""Schemas that other servers are sent, and whole answers that do not keep to them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lab.errors import InputError, RemoteError
from lab.pipelines.remote.keeping import why_broken
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.tool import Tool
from tests.peer_server import Peer, Reply, calling, chunk, peer, said, stream_of
from tests.unit.test_pipelines_remote import CHAT, ask, chat_at, user

__all__ = ["peer"]

KINDS = ["openai", "ollama", "vllm", "lab", "llama.cpp"]
REQUIRED = {"mode": "required"}


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def of_key(schema: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    keys: dict[str, Any] = {"required": ["a"]} if required else {}
    return {"type": "object", "properties": {"a": schema}, "additionalProperties": False, **keys}


async def read(
    peer: Peer, got: list[ChatDelta], asked: dict[str, Any], tools: Sequence[Tool] = ()
) -> None:
    """Ask, and keep what comes until the end or an error."""
    async with chat_at(peer.url, kind="vllm") as chat:
        parameters = GenerationParameters.model_validate(asked)
        async for delta in chat.stream(user(), parameters, tools=tools):
            got.append(delta)


EMPTY_TEXT = {"type": "string", "minLength": 5, "maxLength": 3}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (EMPTY_TEXT, r"minLength \(5\) is greater than maxLength \(3\)"),
        (False, "the schema is false"),
        (of_key(EMPTY_TEXT, required=False), "`minLength` is above `maxLength`"),
        ({"anyOf": [True, {"type": "array", "minItems": 2, "maxItems": 1}]}, "`minItems`"),
        (of_key({"type": "string", "pattern": "^a{5,3}$"}, required=False), "invalid repetition"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "`dependentRequired`"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "finite"),
    ],
)
async def test_a_schema_that_cannot_be_kept_to_is_never_sent(
    peer: Peer, kind: str, schema: Any, why: str
) -> None:
    with pytest.raises(InputError, match=f"No answer can be held to this schema: .*{why}"):
        await ask(peer, kind=kind, response_format=form(schema))

    assert not peer.requests


@pytest.mark.parametrize("choice", [None, REQUIRED])
@pytest.mark.parametrize("schema", [EMPTY_TEXT, {"type": "string", "pattern": "^a{5,3}$"}])
async def test_a_tool_that_cannot_be_called_is_never_sent(
    peer: Peer, choice: Any, schema: dict[str, Any]
) -> None:
    tool = Tool(name="note", parameters=of_key(schema))

    with pytest.raises(InputError, match="No answer can be held to this schema"):
        await ask(peer, kind="llama.cpp", tools=[tool], tool_choice=choice)

    assert not peer.requests


@pytest.mark.parametrize(
    ("schema", "text", "keyword"),
    [
        (of_key({"type": "integer", "multipleOf": 7}), '{"a": 12}', "`multipleOf` at #/a: 12"),
        (of_key({"type": "number", "minimum": 0}), '{"a": -2e-4}', "`minimum`"),
        (of_key({"type": "string", "format": "date"}), '{"a": "soon"}', "`format`"),
        (of_key({"type": "string", "pattern": "^[a-z]+$"}), '{"a": "A"}', "`pattern`"),
        (of_key({}), '{"b": 1}', "`(required|additionalProperties)`"),
        ({"type": "object"}, "I am a model.", "no JSON"),
        ({"type": "number"}, "NaN", "no JSON"),
    ],
)
async def test_a_whole_answer_that_breaks_its_schema_is_an_error(
    peer: Peer, schema: Any, text: str, keyword: str
) -> None:
    peer.answers[CHAT] = [said(text)]
    got: list[ChatDelta] = []

    with pytest.raises(RemoteError, match=f"`there` .*{keyword}.* another engine"):
        await read(peer, got, {"response_format": form(schema)})

    assert "".join(delta.content for delta in got) == text
    assert not any(delta.finish_reason for delta in got)
    assert len(peer.requests) == 1


async def test_an_answer_that_keeps_to_its_schema_is_whole(peer: Peer) -> None:
    peer.answers[CHAT] = [said(' {"a": 0.3}')]

    answer = await ask(peer, response_format=form(of_key({"type": "number", "multipleOf": 0.1})))

    assert (answer.content, answer.finish_reason) == (' {"a": 0.3}', FinishReason.stop)


async def test_an_answer_that_was_cut_off_says_so(peer: Peer) -> None:
    cut = [chunk({"content": '{"a": '}), chunk(finish_reason="length"), "data: [DONE]\n\n"]
    peer.answers[CHAT] = [stream_of(*cut)]

    answer = await ask(peer, response_format=form(of_key({"type": "integer"})))

    assert (answer.content, answer.finish_reason) == ('{"a": ', FinishReason.length)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (calling(("note", {"a": 8})), "the arguments of `note`: `multipleOf` at #/a"),
        (calling(("other", {"a": 7})), "`other` is none of the tools"),
        (said("No."), "a tool had to be called"),
    ],
)
async def test_a_call_that_had_to_come_and_breaks_its_schema_is_never_given(
    peer: Peer, reply: Reply, why: str
) -> None:
    tools = [
        Tool(name="note", parameters=of_key({"type": "integer", "multipleOf": 7})),
        Tool(name="other"),
    ]
    peer.answers[CHAT] = [reply]
    got: list[ChatDelta] = []

    with pytest.raises(RemoteError, match=why):
        await read(peer, got, {"tool_choice": {"mode": "required", "name": "note"}}, tools)

    assert not any(delta.tool_call for delta in got)


async def test_a_call_that_had_to_come_is_given(peer: Peer) -> None:
    tool = Tool(name="note", parameters=of_key({"type": "integer", "multipleOf": 7}))
    peer.answers[CHAT] = [calling(("note", {"a": 14}))]

    answer = await ask(peer, tools=[tool], tool_choice=REQUIRED)

    assert [call.arguments for call in answer.tool_calls] == [{"a": 14}]


async def test_a_format_beside_a_call_that_must_come_is_not_sent(peer: Peer) -> None:
    peer.answers[CHAT] = [calling(("note", {}))]

    await ask(
        peer, tools=[Tool(name="note")], tool_choice=REQUIRED, response_format=form(EMPTY_TEXT)
    )

    assert "response_format" not in peer.requests[0].body


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, ["3", "3.0", "1e3"], ["3.5", '"3"', "true"]),
        ({"multipleOf": 0.01}, ["0.07", "4.35", "1e30"], ["0.075"]),
        ({"patternProperties": {"^x": {"type": "null"}}}, ['{"x": null, "y": 1}'], ['{"xa": 1}']),
        (
            {"patternProperties": {"^x": True}, "additionalProperties": {"type": "null"}},
            ['{"x": 1, "y": null}'],
            ['{"y": 1}'],
        ),
        ({"$defs": {"a": {"enum": [1.5]}}, "items": {"$ref": "#/$defs/a"}}, ["[1.5]"], ["[1]"]),
    ],
)
def test_what_keeps_to_a_schema(schema: Any, good: list[str], bad: list[str]) -> None:
    assert not [text for text in good if why_broken(text, schema)]
    assert not [text for text in bad if not why_broken(text, schema)]


def test_no_schema_takes_for_ever() -> None:
    slow = {"type": "string", "pattern": "^(a+)+$"}
    levels = 40
    defs: dict[str, Any] = {
        f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}, {"$ref": f"#/$defs/a{i + 1}"}]}
        for i in range(levels)
    }
    wide = {"$defs": {**defs, f"a{levels}": {"type": "integer"}}, "$ref": "#/$defs/a0"}

    assert "`pattern`" in why_broken(json.dumps("a" * 5000 + "!"), slow)
    assert "references" in why_broken("1", wide)
    assert "deep" in why_broken("[" * 900 + "]" * 900, {"items": {"$ref": "#"}})
