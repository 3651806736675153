from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.file_part import FilePart
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.tool_result_part import ToolResultPart
from lab.widgets.parts import parts_html
from lab.widgets.reply import Reply

RUN, CONVERSATION = UUID(int=1), UUID(int=2)


def event(type_: EventType, **data: Any) -> Event:
    return Event(run_id=RUN, position=0, type=type_, data=data, created_at=datetime.now(UTC))


def reply_of(*events: Event) -> Reply:
    reply = Reply(CONVERSATION, "What is 12 + 30?")
    for each in events:
        reply.add(each)
    return reply


def test_pieces_of_text_join() -> None:
    reply = reply_of(event(EventType.content, text="**4"), event(EventType.content, text="2**"))

    assert reply.html == "<p><strong>42</strong></p>\n"
    assert reply.changed


def test_thinking_and_tool_calls_are_folded() -> None:
    call = {"id": "1", "name": "calc<b>", "arguments": {"expression": "12 < 30"}}
    reply = reply_of(
        event(EventType.thinking, text="Add them."), event(EventType.tool_call, tool_call=call)
    )

    assert '<details class="lab-folded lab-thinking"><summary>Thinking</summary>' in reply.html
    assert "Called <code>calc&lt;b&gt;</code>" in reply.html
    assert "12 &lt; 30" in reply.html


def test_what_tools_told_stands_between_what_was_said() -> None:
    call = {"id": "1", "name": "calculator", "arguments": {"expression": "12 + 30"}}
    told = {"tool_call_id": "1", "name": "calculator", "text": "<42>", "failed": False}
    reply = reply_of(
        event(EventType.content, text="Let me "),
        event(EventType.content, text="see."),
        event(EventType.tool_started, tool_call=call),
        event(EventType.tool_finished, **told, seconds=0.1),
        event(EventType.content, text="It is 42."),
    )

    order = ["<p>Let me see.</p>", "Called <code>calculator", "&lt;42&gt;", "<p>It is 42.</p>"]
    places = [reply.html.index(piece) for piece in order]
    assert places == sorted(places)


def test_a_stored_answer_keeps_its_ids() -> None:
    reply = reply_of(
        event(EventType.message_stored, message_id="q", role="user"),
        event(EventType.content, text="42"),
        event(EventType.message_stored, message_id="a", role="assistant"),
    )

    assert reply.bubble() == {
        "id": "a",
        "role": "assistant",
        "html": "<p>42</p>\n",
        "run_id": str(RUN),
        "pictures": [],
    }


def test_a_failed_run_says_why() -> None:
    failed = event(EventType.run_failed, code="model_unavailable", status=503, message="No model.")

    assert reply_of(failed).problem == "No model."


def message(role: Role, text: str, run_id: UUID | None) -> Message:
    return Message(
        id=UUID(int=3),
        owner_id=UUID(int=4),
        conversation_id=CONVERSATION,
        position=0,
        role=role,
        parts=[TextPart(text=text)],
        run_id=run_id,
        created_at=datetime.now(UTC),
    )


def test_an_answer_that_a_guard_stopped_says_so() -> None:
    reply = reply_of(
        event(EventType.content, text="4"), event(EventType.usage, usage={}, guard="stutter")
    )

    assert "guard <code>stutter</code>" in reply.html


def test_a_failed_answer_left_what_its_run_stored() -> None:
    stored = [
        message(Role.user, "What is 12 + 30?", None),
        message(Role.user, "What is 12 + 30?", RUN),
        message(Role.assistant, "4", RUN),
    ]

    assert reply_of(event(EventType.content, text="4")).left(stored) == stored[1:]


@pytest.mark.parametrize(
    ("role", "text", "n_left"),
    [
        (Role.user, "What is 12 + 30?", 1),
        (Role.user, "Hello.", 0),
        (Role.assistant, "What is 12 + 30?", 0),
    ],
)
def test_an_answer_refused_before_it_had_a_run_left_its_question_at_most(
    role: Role, text: str, n_left: int
) -> None:
    stored = [message(Role.user, "What is 12 + 30?", RUN), message(role, text, RUN)]

    assert reply_of().left(stored) == stored[2 - n_left :]


def test_what_is_attached_is_named() -> None:
    html = parts_html([FilePart(file_id=RUN), TextPart(text="My cat.")])

    assert html == "<p>Attached: file</p><p>My cat.</p>\n"


def test_tool_results_are_shown_as_text() -> None:
    html = parts_html([ToolResultPart(tool_call_id="1", text="<i>4</i>"), TextPart(text="4")])

    assert "&lt;i&gt;4&lt;/i&gt;" in html
    assert html.endswith("<p>4</p>\n")


def test_a_made_picture_and_the_stage_are_shown() -> None:
    file_id = str(UUID(int=7))
    stage = {"name": "draw<b>", "n_done": 1, "n_total": 3}
    reply = reply_of(
        event(EventType.stage, **stage), event(EventType.image, image={"file_id": file_id})
    )
    shown = reply.html
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    reply.add(event(EventType.usage, usage=usage, finish_reason="stop"))

    assert '<p class="lab-stage">draw&lt;b&gt; 1/3</p>' in shown
    assert "lab-stage" not in reply.html
    assert reply.bubble()["pictures"] == [file_id]
