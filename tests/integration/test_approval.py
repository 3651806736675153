"""Tools that wait for the user: a scripted model on a real port calls them."""

import asyncio
import os
import pty
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

import openai
import pytest
from httpx import HTTPStatusError
from langgraph_sdk import get_client

from lab.client import Lab, connect
from lab.db import Database
from lab.errors import ConflictError, InputError, NotFoundError
from lab.messages import text_of
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.role import Role
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from lab.widgets import ChatDashboard
from tests.api_server import Api, ann, bob, hello
from tests.commands import command
from tests.integration.test_tools import (
    CHAT,
    WEATHER,
    Source,
    Strange,
    api_with_tools,
    asked,
    events_of,
    lab,
    source,
    there,
)
from tests.integration.test_widgets_chat import Page
from tests.peer_server import Peer, calling, said
from tests.stack import LAB

__all__ = ["ann", "api_with_tools", "bob", "lab", "source", "there"]

pytestmark = pytest.mark.integration


def asking(*names: str, **others: Any) -> dict[str, Any]:
    """Return settings by which calls of tools wait."""
    return {"tools": {"enabled": [*names, "calculator"], "ask": list(names), **others}}


async def waiting(lab: Lab, there: Peer, *calls: tuple[str, dict[str, Any]]) -> Event:
    """Return the end of a turn that waits for the user's word on calls."""
    there.answers[CHAT] = [calling(*calls, text="Let me see."), said("Done.")]
    talk = await lab.conversations.create("Waits")
    names = {name for name, _ in calls}
    *_, last = await events_of(
        lab, "Do it.", conversation=talk.id, settings=asking(*(names - {"calculator"}))
    )
    return last


async def gone_on(lab: Lab, run_id: UUID, reply: Any) -> list[Event]:
    run = await lab.runs.resume(run_id, reply)
    async with aclosing(lab.runs.follow(run.id)) as events:
        return [event async for event in events]


def results(events: Sequence[Event]) -> list[str]:
    return [e.data["text"] for e in events if e.type is EventType.tool_finished]


async def test_a_call_waits_until_it_is_allowed_and_runs_once(
    lab: Lab, there: Peer, source: Source
) -> None:
    last = await waiting(lab, there, ("keeps", {"n": 1}), ("calculator", {"expression": "6 * 7"}))
    n_before = source.strange["keeps"].n_calls

    (ask,) = last.data["asks"]
    events = await gone_on(lab, last.run_id, {"approve": True})

    assert last.type is EventType.run_interrupted
    call = {"id": "call-0-keeps", "name": "keeps", "arguments": {"n": 1}}
    assert ask["value"] == {"kind": "approval", "calls": [call]}
    assert (n_before, source.strange["keeps"].n_calls) == (0, 1)
    assert sorted(results(events)) == ["42", "call 1"]
    assert events[-1].type is EventType.run_completed
    text = "".join(e.data["text"] for e in events if e.type is EventType.content)
    assert text == "Let me see.\n\nDone."
    run = await lab.runs.get(last.run_id)
    assert run.conversation_id is not None
    stored = await lab.conversations.messages(run.conversation_id)
    assert [m.role.value for m in stored] == ["user", "assistant", "tool", "tool", "assistant"]
    assert len(asked(there)) == 2


async def test_a_call_that_is_denied_is_an_error_for_the_model(
    lab: Lab, there: Peer, source: Source
) -> None:
    last = await waiting(lab, there, ("keeps", {}), ("calculator", {"expression": "6 * 7"}))

    events = await gone_on(lab, last.run_id, {"approve": False, "reason": "Too dear."})

    assert source.strange["keeps"].n_calls == 0
    assert sorted(results(events)) == [
        "42",
        "Error: the user did not allow this call: Too dear.",
    ]
    shown = [m["content"] for m in asked(there)[-1]["messages"] if m["role"] == "tool"]
    assert sorted(shown) == sorted(results(events))
    assert events[-1].type is EventType.run_completed


async def test_a_call_runs_with_the_arguments_that_the_user_gives(lab: Lab, there: Peer) -> None:
    there.answers[CHAT] = [calling(("calculator", {"expression": "6 * 7"})), said("Done.")]
    talk = await lab.conversations.create("Sums")
    *_, last = await events_of(lab, "Do it.", conversation=talk.id, settings=asking("calculator"))

    events = await gone_on(
        lab,
        last.run_id,
        {"approve": True, "arguments": {"call-0-calculator": {"expression": "6 * 8"}}},
    )

    assert results(events) == ["48"]
    (call, *_) = [e.data["tool_call"] for e in events if e.type is EventType.tool_started]
    assert call["arguments"] == {"expression": "6 * 8"}
    stored = await lab.conversations.messages(talk.id)
    assert "6 * 8" in stored[1].model_dump_json()


async def test_each_round_asks_anew_and_what_is_beyond_a_limit_does_not(
    lab: Lab, there: Peer, source: Source
) -> None:
    once = calling(("keeps", {}))
    there.answers[CHAT] = [once, once, once, said("Done.")]
    talk = await lab.conversations.create("Rounds")
    settings = asking("keeps", max_repeats=2, cache_s=0)
    *_, first = await events_of(lab, "Do it.", conversation=talk.id, settings=settings)
    *_, second = await gone_on(lab, first.run_id, {"approve": True})
    events = await gone_on(lab, second.run_id, {"approve": True})

    assert second.type is EventType.run_interrupted
    assert events[-1].type is EventType.run_completed
    assert source.strange["keeps"].n_calls == 2
    assert "was made before" in results(events)[-1]


async def test_a_reply_is_to_the_question_that_was_shown(
    lab: Lab, there: Peer, source: Source, api_with_tools: Api, ann: str
) -> None:
    there.answers[CHAT] = [calling(("calculator", {"expression": "1"})), calling(("keeps", {}))]
    talk = await lab.conversations.create("Rounds")
    settings = asking("keeps", "calculator")
    *_, first = await events_of(lab, "Do it.", conversation=talk.id, settings=settings)
    *_, second = await gone_on(lab, first.run_id, {"approve": True})
    names = [e.data["asks"][0]["value"]["calls"][0]["name"] for e in (first, second)]
    ids = [e.data["asks"][0]["id"] for e in (first, second)]

    with pytest.raises(ConflictError, match=str(second.run_id)):
        await lab.runs.resume(first.run_id, {"approve": True})
    headers = {"Authorization": f"Bearer {ann}"}
    async with get_client(url=f"{api_with_tools.url}/v1", headers=headers) as client:
        with pytest.raises(HTTPStatusError, match="409"):
            await client.runs.wait(
                str(talk.id), "default", command={"resume": {ids[0]: {"approve": True}}}
            )
        n_before = source.strange["keeps"].n_calls
        there.answers[CHAT] = [said("Done.")]
        result: Any = await client.runs.wait(
            str(talk.id), "default", command={"resume": {ids[1]: {"approve": True}}}
        )

    assert names == ["calculator", "keeps"]
    assert (n_before, source.strange["keeps"].n_calls) == (0, 1)
    assert result["run"]["status"] == "success"


@pytest.mark.parametrize(
    ("then", "reply", "n_kept", "n_mine"),
    [
        ([], {"approve": False}, 0, 1),
        (["mine"], {"approve": True}, 1, 0),
        (["mine"], {"approve": False}, 0, 0),
    ],
)
async def test_what_is_set_while_a_run_waits_lets_nothing_run_unseen(
    lab: Lab, there: Peer, source: Source, then: list[str], reply: Any, n_kept: int, n_mine: int
) -> None:
    there.answers[CHAT] = [calling(("keeps", {}), ("mine", {})), said("Done.")]
    talk = await lab.conversations.create("Waits")
    await lab.config.set("tools.enabled", ["keeps", "mine"])
    await lab.config.set("tools.ask", ["keeps"])
    try:
        *_, last = await events_of(lab, "Do it.", conversation=talk.id)
        await lab.config.set("tools.ask", then)
        events = await gone_on(lab, last.run_id, reply)
    finally:
        await lab.config.reset("tools.enabled")
        await lab.config.reset("tools.ask")

    assert events[-1].type is EventType.run_completed
    assert source.strange["keeps"].n_calls == n_kept
    assert source.strange["mine"].n_calls == n_mine


async def test_changed_arguments_let_no_other_call_run(
    lab: Lab, there: Peer, source: Source
) -> None:
    there.answers[CHAT] = [calling(*[("keeps", {"n": 1})] * 3), said("Done.")]
    talk = await lab.conversations.create("Repeats")
    settings = asking("keeps", max_repeats=2, cache_s=0)
    *_, last = await events_of(lab, "Do it.", conversation=talk.id, settings=settings)
    shown = [call["id"] for call in last.data["asks"][0]["value"]["calls"]]
    reply = {"approve": True, "arguments": {shown[0]: {"n": 2}}}
    events = await gone_on(lab, last.run_id, reply)

    assert shown == ["call-0-keeps", "call-1-keeps"]
    assert source.strange["keeps"].n_calls == 2
    assert len([text for text in results(events) if text.startswith("Error")]) == 1


async def test_a_request_adds_tools_that_ask_and_takes_none_away(
    lab: Lab, there: Peer, source: Source
) -> None:
    await lab.config.set("tools.ask", ["keeps"])
    try:
        there.answers[CHAT] = [calling(("keeps", {}), ("calculator", {"expression": "1"}))] * 2
        calls = []
        for more in ([], ["calculator"]):
            talk = await lab.conversations.create("Waits")
            settings = {"tools": {"enabled": ["keeps", "calculator"], "ask": more}}
            *_, last = await events_of(lab, "Do it.", conversation=talk.id, settings=settings)
            calls += [[c["name"] for c in last.data["asks"][0]["value"]["calls"]]]
        there.answers[CHAT] = [said("Hello.")]
        with pytest.raises(InputError, match="name a conversation"):
            await lab.chat("Do it.", settings={"tools": {"enabled": ["keeps"], "ask": []}})
    finally:
        await lab.config.reset("tools.ask")

    assert calls == [["keeps"], ["keeps", "calculator"]]
    assert source.strange["keeps"].n_calls == 0


async def test_a_call_that_the_user_allows_runs_though_text_of_others_was_read(
    lab: Lab, there: Peer, source: Source
) -> None:
    there.answers[CHAT] = [calling(("reads", {})), calling(("changes", {})), said("Done.")]
    source.strange["changes"] = Strange("changes", changes=True)
    talk = await lab.conversations.create("Reads")
    settings = {"tools": {"enabled": ["reads", "changes"], "ask": ["changes"]}}
    *_, last = await events_of(lab, "Do it.", conversation=talk.id, settings=settings)
    events = await gone_on(lab, last.run_id, {"approve": True})

    assert source.strange["changes"].n_calls == 1
    assert [text for text in results(events) if "outside of the lab" in text] == []


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("yes", "reply"),
        ({"approve": "perhaps"}, "reply.approve"),
        ({"approved": True}, "reply.approve"),
        ({"approve": True, "arguments": {"other": {}}}, "no call `other` waits"),
        ({"approve": False, "arguments": {"call-0-keeps": {}}}, "leave them out"),
    ],
)
async def test_another_reply_is_refused_and_the_run_still_waits(
    lab: Lab, there: Peer, reply: Any, why: str
) -> None:
    last = await waiting(lab, there, ("keeps", {}))

    with pytest.raises(InputError, match=why):
        await lab.runs.resume(last.run_id, reply)
    events = await gone_on(lab, last.run_id, {"approve": True})

    assert events[-1].type is EventType.run_completed


async def test_of_two_who_decide_at_once_one_does(
    lab: Lab, there: Peer, source: Source, api_with_tools: Api, bob: str
) -> None:
    last = await waiting(lab, there, ("keeps", {}))
    async with connect(api_with_tools.url, token=bob) as his:
        with pytest.raises(NotFoundError):
            await his.runs.resume(last.run_id, {"approve": True})

    both = await asyncio.gather(
        lab.runs.resume(last.run_id, {"approve": True}),
        lab.runs.resume(last.run_id, {"approve": False}),
        return_exceptions=True,
    )
    (refused,) = [one for one in both if isinstance(one, BaseException)]
    (run,) = [one for one in both if not isinstance(one, BaseException)]
    async with aclosing(lab.runs.follow(run.id)) as events:
        *_, end = [event async for event in events]

    assert isinstance(refused, ConflictError)
    assert end.type is EventType.run_completed
    assert source.strange["keeps"].n_calls == (1 if both[0] is run else 0)


async def test_a_call_that_was_cut_off_asks_again_and_the_last_word_counts(
    lab: Lab, there: Peer, source: Source
) -> None:
    last = await waiting(lab, there, ("hangs", {}))
    run = await lab.runs.resume(last.run_id, {"approve": True})
    async with asyncio.timeout(30):
        while not source.strange["hangs"].n_calls:
            await asyncio.sleep(0.02)
    await lab.runs.pause(run.id)

    with pytest.raises(ConflictError, match="approval"):
        await lab.runs.resume(run.id)
    events = await gone_on(lab, run.id, {"approve": False})

    assert results(events) == ["Error: the user did not allow this call."]
    assert source.strange["hangs"].n_calls == 1
    assert events[-1].type is EventType.run_completed


async def test_a_turn_that_is_not_stored_has_no_tool_that_waits(
    lab: Lab, there: Peer, api_with_tools: Api, ann: str
) -> None:
    await lab.config.set("tools.ask", ["calculator"])
    try:
        with pytest.raises(InputError, match="name a conversation"):
            await lab.chat("Do it.", settings={"tools": {"enabled": ["calculator"]}})
        there.answers[CHAT] = [said("Hello.")]
        await lab.profiles.add("sums", model="there/big", tools=["calculator"])
        await lab.chat("Hello.", model="sums")
        assert "tools" not in asked(there)[-1]

        talk = await lab.conversations.create("OpenAI")
        there.answers[CHAT] = [calling(("calculator", {"expression": "1"}))] * 5
        async with api_with_tools.client(ann) as client:
            for stream in (False, True):
                body = hello(model="sums", conversation_id=str(talk.id), stream=stream)
                refused = await client.post(CHAT, json=body)
                assert refused.status_code == 409
                assert "/resume" in refused.json()["error"]["message"]
        n_asked = len(await lab.conversations.messages(talk.id))
        with pytest.raises(openai.ConflictError):
            async with openai.AsyncOpenAI(
                base_url=f"{api_with_tools.url}/v1", api_key=ann
            ) as openai_client:
                await openai_client.chat.completions.create(
                    model="sums",
                    messages=[{"role": "user", "content": "Do it."}],
                    extra_body={"conversation_id": str(talk.id)},
                )
        assert len(await lab.conversations.messages(talk.id)) == n_asked + 1
    finally:
        await lab.config.reset("tools.ask")


async def test_tools_of_the_client_do_not_wait(lab: Lab, there: Peer) -> None:
    there.answers[CHAT] = [calling(("weather", {}))]
    talk = await lab.conversations.create("Weather")
    answer = await lab.chat(
        "Weather?",
        conversation=talk.id,
        tools=[WEATHER],
        settings={"tools": {"ask": ["weather"]}},
    )

    assert [call.name for call in answer.tool_calls] == ["weather"]


async def test_the_dashboard_shows_the_call_and_goes_on_as_a_person_decides(
    lab: Lab, there: Peer, database: Database, owner: User, source: Source
) -> None:
    await lab.config.set("tools.enabled", ["keeps"])
    await lab.config.set("tools.ask", ["keeps"])
    try:
        page = Page(ChatDashboard(lab))
        page.does("look", conversation="")
        await page.until(lambda: page.chat.ready)
        there.answers[CHAT] = [calling(("keeps", {"n": "<b>"})), said("Done.")]
        page.does("send", text="Do it.")
        await page.until(lambda: page.chat.question)
        await page.until_answered()
        question = page.chat.question
        anew = Page(ChatDashboard(lab, conversation=page.chat.conversation))
        anew.does("look", conversation="")
        await anew.until(lambda: anew.chat.ready)

        assert anew.chat.question == question
        assert "&lt;b&gt;" in question["html"]
        assert page.roles() == ["user"]
        assert source.strange["keeps"].n_calls == 0
        anew.does("decide", run_id=question["run_id"], approve=True)
        await anew.until(lambda: not anew.chat.question and len(anew.chat.messages) == 2)
        await anew.until_answered()
        assert "Done." in anew.chat.messages[-1]["html"]
        assert source.strange["keeps"].n_calls == 1
    finally:
        await lab.config.reset("tools.enabled")
        await lab.config.reset("tools.ask")


async def test_a_run_that_waits_may_be_left(lab: Lab, there: Peer) -> None:
    last = await waiting(lab, there, ("keeps", {}))
    run = await lab.runs.get(last.run_id)
    assert run.conversation_id is not None
    there.answers[CHAT] = [said("Hello.")]
    await lab.chat("Never mind.", conversation=run.conversation_id)

    with pytest.raises(ConflictError, match="went on"):
        await lab.runs.resume(last.run_id, {"approve": True})
    stored = await lab.conversations.messages(run.conversation_id)
    assert run.status is RunStatus.interrupted
    assert [text_of(m.parts) for m in stored if m.role is Role.assistant] == ["Hello."]


async def test_the_command_line_replies(
    lab: Lab, there: Peer, source: Source, api_with_tools: Api, ann: str
) -> None:
    last = await waiting(lab, there, ("keeps", {}))
    resume = ("runs", "resume", str(last.run_id))

    wrong = [
        await command(api_with_tools, ann, *resume, *options)
        for options in (("--reason", "No."), ("--reply", "{"), ("--approve", "--reply", "{}"), ())
    ]
    code, written = await command(api_with_tools, ann, *resume, "--deny", "--reason", "No.")
    async with aclosing(lab.runs.follow(UUID(written.strip()))) as events:
        told = [event async for event in events]

    assert [status for status, _ in wrong] == [1, 1, 1, 1]
    assert ["--deny" in wrong[0][1], "no JSON" in wrong[1][1]] == [True, True]
    assert "go on with a `reply`" in wrong[3][1]
    assert code == 0
    assert results(told) == ["Error: the user did not allow this call: No."]


async def test_lab_chat_asks_in_the_terminal_and_writes_nothing_twice(
    lab: Lab, there: Peer, source: Source, api_with_tools: Api, ann: str
) -> None:
    await lab.config.set("tools.enabled", ["keeps"])
    code, _ = await command(api_with_tools, ann, "tools", "ask", "keeps")
    text = "print(1)  # " + "just a sum, " * 20 + "[bold]and the end"
    calls = calling(("keeps", {"code": text, "turned": "\u202e"}), text="Let me see.")
    there.answers[CHAT] = [calls, said("Done.")]
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(LAB, "chat"),
        env=os.environ | {"LAB_API_URL": api_with_tools.url, "LAB_API_KEY": ann},
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        os.write(ours, b"Do it.\n")
        async with asyncio.timeout(30):
            asked_for = await process.stderr.readuntil(b"yes or no:")
            os.write(ours, b"yes\n")
            written = await process.stdout.readuntil(b"Done.\n")
        os.write(ours, b"\x04")
        await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
        await lab.config.reset("tools.enabled")
        await lab.config.reset("tools.ask")

    assert (code, process.returncode) == (0, 0)
    assert text in asked_for.decode()
    assert "\\u202e" in asked_for.decode()
    assert written == b"Let me see.\n\nDone.\n"
    assert source.strange["keeps"].n_calls == 1


async def test_a_thread_waits_and_a_command_goes_on_with_its_run(
    lab: Lab, there: Peer, source: Source, api_with_tools: Api, ann: str
) -> None:
    headers = {"Authorization": f"Bearer {ann}"}
    there.answers[CHAT] = [calling(("keeps", {}), text="Let me see."), said("Done.")]
    config: Any = {"configurable": {"settings": asking("keeps")}}
    modes: Any = ["values", "updates"]
    async with get_client(url=f"{api_with_tools.url}/v1", headers=headers) as client:
        thread = (await client.threads.create())["thread_id"]
        stream = client.runs.stream(
            thread, "default", input={"messages": "Do it."}, config=config, stream_mode=modes
        )
        parts = [(part.event, part.data) async for part in stream]
        waits = await client.threads.search(status="interrupted")
        state = await client.threads.get_state(thread)
        result: Any = await client.runs.wait(
            thread, "default", command={"resume": {"approve": True}}
        )
        after = await client.threads.get(thread)

    *_, update, values, (end, _) = parts
    assert end == "end"
    assert update[1]["__interrupt__"] == values[1]["__interrupt__"]
    (ask,) = values[1]["__interrupt__"]
    assert [call["name"] for call in ask["value"]["calls"]] == ["keeps"]
    assert [one["thread_id"] for one in waits] == [thread]
    assert [one["value"] for one in state["interrupts"]] == [ask["value"]]
    assert state["next"] == ["call_tools"]
    assert result["run"]["status"] == "success"
    assert "__interrupt__" not in result["values"]
    kinds = [message["type"] for message in result["messages"]]
    assert kinds == ["human", "ai", "tool", "ai"]
    assert after["status"] == "idle"
    assert source.strange["keeps"].n_calls == 1
