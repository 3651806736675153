"""Tools that are written for people: found or written, read, approved, run in the sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from lab.cli import main
from lab.client import connect
from lab.db import Database
from lab.errors import (
    CodeError,
    ConflictError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    UnknownModelError,
)
from lab.protocols import FloatArray
from lab.schemas.dynamic_tool_origin import DynamicToolOrigin
from lab.schemas.dynamic_tool_request import DynamicToolRequest
from lab.schemas.sandbox_end import SandboxEnd
from lab.schemas.scope import Scope
from lab.schemas.user import User
from lab.workflows.dynamic_tools import python_tool
from tests.api_server import Api, ann, bob, key_of, running_api
from tests.peer_server import Peer, Reply, calling, running_peer, said

__all__ = ["ann", "bob"]

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
COUNT = '''
import re

def word_count(text: str, least: int = 1) -> int:
    """Counts the words of a text."""
    return len([word for word in re.findall(r"\\w+", text) if len(word) >= least])
'''
LETTERS = '''
def letter_count(text: str) -> int:
    """Counts letters."""
    return sum(letter.isalpha() for letter in text)
'''
WISH = "Counts the words of a text."

Command = Callable[..., Coroutine[Any, Any, Result]]


def written(name: str, code: str) -> Reply:
    """Return what a model answers that writes a tool."""
    return said(json.dumps({"name": name, "code": code}), 200, 50)


@pytest.fixture(scope="module")
async def there() -> AsyncIterator[Peer]:
    """A server with a model that writes what a test tells it."""
    async with running_peer() as peer:
        peer.answers["/v1/models"] = [
            Reply(pieces=[json.dumps({"data": [{"id": "coder", "max_model_len": 4096}]})])
        ]
        yield peer


@pytest.fixture(scope="module")
async def tools_app(
    database_url: str, there: Peer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("tools")
    endpoint = {"name": "there", "url": f"{there.url}/v1", "kind": "vllm", "retries": 0}
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_REMOTES_ENDPOINTS": json.dumps([endpoint]),
        "LAB_SANDBOX_SECONDS": "5",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(tools_app: Api, there: Peer, ann: str) -> AsyncIterator[Api]:
    there.requests.clear()
    yield tools_app
    await tools_app.until_idle()


@pytest.fixture
def command(api: Api, ann: str) -> Command:
    """Run `lab …` as ann."""
    env = {"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "250"}

    async def run(*arguments: str, code: int = 0) -> Result:
        result = await asyncio.to_thread(CliRunner(env=env).invoke, main, arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


async def test_a_tool_runs_once_the_version_that_was_read_is_approved(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        made = await lab.tools.add("word_count", COUNT)
        with pytest.raises(ConflictError, match="Version 1 of `word_count` waits for approval"):
            await lab.tools.run("word_count", text="One two.")
        await lab.tools.approve("word_count", made.version)
        result = await lab.tools.run("word_count", text="One or two.", least=3)

        assert made.approved_at is None
        assert made.description == "Counts the words of a text."
        assert made.parameters["required"] == ["text"]
        assert (result.ended, result.value) == (SandboxEnd.done, 2)

        # What is written anew waits again, and who read another version approves nothing.
        changed = await lab.tools.set("word_count", COUNT.replace("least", "at_least"))
        assert (changed.id, changed.approved_at) == (made.id, None)
        with pytest.raises(ConflictError, match="at version 3"):
            await lab.tools.approve("word_count", made.version)
        with pytest.raises(ConflictError, match="waits for approval"):
            await lab.tools.run("word_count", text="One.")
        with pytest.raises(ConflictError, match="this change was made to version 1"):
            await lab.tools.update(made.id, 1, _request("word_count", COUNT))


async def test_arguments_that_are_not_the_tools_do_not_reach_it(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        await lab.tools.add("word_count", COUNT)
        await lab.tools.approve("word_count", 1)
        for arguments, what in (
            ({"text": 3}, "`text`: 3 is not of type 'string'"),
            ({}, "'text' is a required property"),
            ({"text": "One.", "owner": "bob"}, "'owner' was unexpected"),
        ):
            with pytest.raises(InputError, match=what):
                await lab.tools.run("word_count", **arguments)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("def one(:", "is no Python: invalid syntax .line 1"),
        ("def two(): return 2", "needs one function `one`.*There are: two"),
        ("import socket\ndef one(): ...", "`socket` is not among the modules.*There are: array"),
        ("from os import path\ndef one(): ...", "`os` is not among"),
        ("def one(): return eval('1')", "no use for `eval` .line 1"),
        ("def one(): return ().__class__", "no use for `.__class__`"),
        ("print('Hi.')\ndef one(): ...", "there may be imports, constants"),
        ("def one(x): ...", "`x` needs an annotation, such as `x: str`"),
        ("def one(x: bytes): ...", "`bytes` is no annotation"),
        ("def one(*x: int): ...", "must take arguments by name"),
        ("def one(): return 1", "has no description"),
        ("(" * 3000 + "\ndef one(): ...", "is no Python"),
    ],
)
async def test_code_that_is_no_tool_is_refused_and_not_stored(
    api: Api, ann: str, code: str, what: str
) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(InputError, match=what):
            await lab.tools.add("one", code)

        assert await lab.tools.own() == []


async def test_parameters_by_hand_must_be_the_functions(api: Api, ann: str) -> None:
    text = {"type": "string", "description": "What to count in."}
    good = {"type": "object", "properties": {"text": text}, "required": ["text"]}
    async with connect(api.url, ann) as lab:
        for wrong, what in (
            ({"type": "string"}, "must describe an object"),
            ({**good, "required": []}, "`text` must be `required`"),
            ({**good, "properties": {}}, "name no arguments, and the function takes `text`"),
            ({**good, "properties": {"text": {"pattern": "(a+)+b"}}}, "cannot say `pattern`"),
            ({**good, "properties": {"text": {"$ref": "http://there/x"}}}, r"cannot say `\$ref`"),
            ({**good, "required": "text"}, "no JSON Schema"),
        ):
            with pytest.raises(InputError, match=what):
                await lab.tools.add("letter_count", LETTERS, parameters=wrong)
        made = await lab.tools.add("letter_count", LETTERS, parameters=good)

    assert made.parameters == good


async def test_what_fails_or_attacks_in_a_tool_is_its_result(api: Api, ann: str) -> None:
    data = api.app.state.settings.data_folder
    thief = f'def one() -> str:\n    "Steals."\n    return open("{data}/secrets").read()\n'
    async with connect(api.url, ann) as lab:
        await lab.tools.add("one", thief)
        await lab.tools.approve("one", 1)
        stolen = await lab.tools.run("one")
        await lab.tools.set("one", 'def one():\n    "Never ends."\n    while True: print(1)\n')
        await lab.tools.approve("one", 3)
        async with asyncio.timeout(10):
            endless = await lab.tools.run("one")

    assert stolen.ended is SandboxEnd.error
    assert (stolen.error or "").startswith("PermissionError")
    assert endless.ended in {SandboxEnd.time, SandboxEnd.error}
    assert endless.stdout.startswith("1\n1\n")


async def test_a_wish_is_met_by_the_tool_that_does_it_or_by_one_that_a_model_writes(
    api: Api, there: Peer, ann: str, database: Database, owner: User
) -> None:
    there.answers[CHAT] = [written("word_count", COUNT), written("letter_count", LETTERS)]
    async with connect(api.url, ann) as lab:
        first = await lab.tools.propose(WISH, model="there/coder")
        again = await lab.tools.propose(WISH, model="there/coder")
        like = await lab.tools.propose("Counts the letters of a text.", model="there/coder")
        listed = await lab.tools.own()
        usage = await lab.usage()

    assert first.origin is DynamicToolOrigin.written
    assert (first.tool.description, first.tool.approved_at) == (WISH, None)
    assert (again.origin, again.tool.id) == (DynamicToolOrigin.reused, first.tool.id)
    assert again.similarity == pytest.approx(1, abs=1e-3)
    assert like.origin is DynamicToolOrigin.modified
    assert like.nearest == "word_count"
    assert 0.6 <= (like.similarity or 0) < 0.9
    asked = [one.body for one in there.requests if one.path == CHAT]
    assert COUNT.strip() in asked[1]["messages"][-1]["content"]
    assert "word_count" in asked[1]["messages"][0]["content"]
    assert asked[0]["response_format"]["type"] == "json_schema"
    # The tool that was there is as it was.
    assert {tool.name: tool.version for tool in listed} == {"word_count": 1, "letter_count": 1}
    assert sum(day.completion_tokens for day in usage) == 100

    async with database.stores(owner.id) as stores:
        await stores.dynamic_tools.renew(first.tool, _ones(), model="another@1")
    async with connect(api.url, ann) as lab:
        # Another model embedded it meanwhile: it is embedded anew, and found.
        found = await lab.tools.propose(WISH, model="there/coder")
    assert (found.origin, found.tool.id) == (DynamicToolOrigin.reused, first.tool.id)


async def test_what_a_model_writes_that_is_no_tool_is_told_and_not_stored(
    api: Api, there: Peer, ann: str
) -> None:
    async with connect(api.url, ann) as lab:
        for answer in (
            said("I would rather not."),
            written("one", "import os\ndef one(): ..."),
            said('{"name": "one"}'),
            said("[1]"),
        ):
            there.answers[CHAT] = [answer]
            with pytest.raises(InputError, match="`there/coder` wrote no tool that can be used"):
                await lab.tools.propose(WISH, model="there/coder")
        with pytest.raises(InputError, match=r"`lab-tiny` wrote no tool .*`lab tools add NAME"):
            await lab.tools.propose(WISH, model="lab-tiny")
        with pytest.raises(UnknownModelError):
            await lab.tools.propose(WISH, model="nobody")

        assert await lab.tools.own() == []


async def test_tools_are_their_owners_alone(
    api: Api, ann: str, bob: str, database: Database, owner: User
) -> None:
    only_asks = await key_of(database, owner, [Scope.custom_lab_infer])
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        made = await hers.tools.add("word_count", COUNT)
        with pytest.raises(NotFoundError, match="You have no tool `word_count`"):
            await his.tools.run("word_count", text="One.")
        with pytest.raises(NotFoundError):
            await his.tools.update(made.id, 1, _request("word_count", COUNT))
        await his.tools.add("word_count", COUNT)
        with pytest.raises(ConflictError, match="You have a dynamic tool `word_count` already"):
            await hers.tools.add("word_count", COUNT)
        await hers.tools.remove("word_count")

        assert await hers.tools.own() == []
        assert [tool.name for tool in await his.tools.own()] == ["word_count"]
    async with connect(api.url, only_asks) as lab:
        with pytest.raises(PermissionDeniedError):
            await lab.tools.own()


async def test_a_model_is_given_the_approved_tools_and_python(
    api: Api, ann: str, owner: User
) -> None:
    runtime = api.app.state.runtime
    async with connect(api.url, ann) as lab:
        await lab.tools.add("word_count", COUNT)
        await lab.tools.approve("word_count", 1)
        await lab.tools.add("letter_count", LETTERS)
        (given,) = await runtime.dynamic_tools.callable(owner.id)

        assert given.tool.name == "word_count"
        assert given.tool.parameters["required"] == ["text"]
        assert await given.call({"text": "One two."}) == "2"
        with pytest.raises(InputError, match="cannot be called so"):
            await given.call({"words": "One two."})
        await lab.tools.set("word_count", COUNT)
        with pytest.raises(ConflictError, match="waits for approval"):
            await given.call({"text": "One two."})

    python = python_tool(runtime.sandbox)
    assert (
        await python.call({"code": "print('a\\0b')\n[1, 'ö']"})
        == 'a\N{REPLACEMENT CHARACTER}b\n[1, "ö"]'
    )
    assert (
        await python.call({"code": "x = 1"})
        == "The code ran, and neither printed nor returned anything."
    )
    with pytest.raises(
        CodeError, match=r"ZeroDivisionError: division by zero .line 2.*printed:\n1"
    ):
        await python.call({"code": "print(1)\n1 / 0"})


async def test_a_turn_calls_what_was_approved_and_python(
    api: Api, there: Peer, ann: str, database: Database, owner: User
) -> None:
    async with connect(api.url, ann) as lab:
        await lab.tools.add("word_count", COUNT)
        settings = {"tools": {"enabled": ["word_count", "python"]}}
        with pytest.raises(InputError, match="The lab has no tool `word_count`"):
            await lab.chat("Count.", model="there/coder", memory=True, settings=settings)
        await lab.tools.approve("word_count", 1)
        there.answers[CHAT] = [
            calling(
                ("word_count", {"text": "One two."}),
                ("python", {"code": "import socket; socket.socket()"}),
            ),
            said("Two."),
        ]
        answer = await lab.chat("Count.", model="there/coder", memory=True, settings=settings)
        listed = {tool.name: tool for tool in await lab.tools.list()}

    assert answer.text == "Two."
    uses = {use.call.name: use.text for use in answer.tool_uses}
    assert uses["word_count"] == "2"
    assert "PermissionError" in uses["python"]
    assert listed["word_count"].personal
    assert not listed["python"].personal


async def test_the_command_line_adds_shows_approves_and_runs(
    command: Command, there: Peer, tmp_path: Path
) -> None:
    file = tmp_path / "count.py"
    file.write_text(COUNT)
    added = await command("tools", "add", "word_count", "--code", str(file))
    shown = await command("tools", "show", "word_count")
    early = await command("tools", "run", "word_count", "-a", "text=One two.", code=1)
    await command("tools", "approve", "word_count", "1")
    ran = await command("tools", "run", "word_count", "-a", "text=One two.")
    wrong = await command("tools", "run", "word_count", "-a", "text", code=1)
    listed = await command("tools", "own")
    there.answers[CHAT] = [written("letter_count", LETTERS)]
    await command("models", "use", "there/coder", "--role", "analysis")
    wrote = await command("tools", "write", "Say how many letters there are.")
    await command("tools", "remove", "word_count")

    assert "lab tools approve word_count 1" in added.output
    assert "runs: waits for approval" in shown.output
    assert 're.findall(r"\\w+", text)' in shown.output
    assert "waits for approval: read its code" in early.output
    assert ran.stdout == "2\n"
    assert "write it as `text=Hello`" in wrong.output
    assert "Counts the words of a text." in listed.stdout
    assert "def letter_count" in wrote.stdout
    assert "lab tools approve letter_count 1" in wrote.output
    assert [
        tool["name"] for tool in json.loads((await command("tools", "own", "--json")).stdout)
    ] == ["letter_count"]


def _request(name: str, code: str) -> DynamicToolRequest:
    return DynamicToolRequest(name=name, code=code)


def _ones() -> FloatArray:
    return np.full(768, 768**-0.5, dtype=np.float32)
