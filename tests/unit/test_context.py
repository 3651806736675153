from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.context import Budget, Candidate, assemble
from lab.errors import ContextLengthError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind
from lab.schemas.tool_call import ToolCall
from lab.schemas.window import Window

START = datetime(2026, 11, 1, tzinfo=UTC)


def count(messages: Sequence[ChatMessage]) -> int:
    """Count words, two markers a message and one for the generation prompt."""
    calls = sum(len(m.tool_calls) for m in messages)
    return 1 + calls + sum(2 + len((m.content or "").split()) for m in messages)


def said(index: int, text: str, role: Role = Role.user, score: float | None = None) -> Candidate:
    message = ChatMessage(role=role, content=text)
    return Candidate(message, UUID(int=index), START + timedelta(days=index), index, score)


def ask(text: str = "Who is it?") -> list[ChatMessage]:
    return [ChatMessage(role=Role.user, content=text)]


def window(
    history: Sequence[Candidate] = (),
    memories: Sequence[Candidate] = (),
    *,
    system: str | None = "Be kind.",
    length: int = 100,
    answer: int = 10,
) -> Window:
    return assemble(
        "m",
        system=system,
        history=history,
        memories=memories,
        question=ask(),
        budget=Budget(length, answer, memory_share=0.5),
        count=count,
    )


def test_a_system_prompt_stands_word_for_word() -> None:
    built = window(memories=[said(0, "My dog is Bo.", score=0.9)], system="\n\nBe kind.")

    assert (built.messages[0].content or "").startswith("\n\nBe kind.\n\nMemories:\n- 2026-11-01")


def test_memories_without_a_system_prompt_begin_with_their_heading() -> None:
    built = window(memories=[said(0, "My dog is Bo.", score=0.9)], system=None)

    assert (built.messages[0].content or "").startswith("Memories:\n- 2026-11-01")


def test_a_short_chat_stands_whole() -> None:
    history = [said(0, "Hello there."), said(1, "Hello you.", Role.assistant)]
    built = window(history)
    assert [m.content for m in built.messages] == [
        "Be kind.",
        "Hello there.",
        "Hello you.",
        "Who is it?",
    ]
    assert built.receipt.n_tokens == count(built.messages)


def test_memories_stand_dated_in_the_system_message_the_last_statement_last() -> None:
    newer, older = said(5, "It is Bo.", score=0.9), said(2, "It is Al.", score=0.8)
    system = window(memories=[newer, older]).messages[0].content
    assert system == (
        "Be kind.\n\nMemories:\n- 2026-11-03 user: It is Al.\n- 2026-11-06 user: It is Bo."
    )


def test_a_memory_that_stands_among_recent_turns_is_not_repeated() -> None:
    turn = said(0, "It is Al.")
    built = window([turn], [turn])
    assert "Memories" not in (built.messages[0].content or "")
    (item,) = [i for i in built.receipt.items if i.kind is SourceKind.memory]
    assert (item.included, item.reason) == (False, "stands among the recent messages")


def test_equal_memories_stand_once() -> None:
    built = window(memories=[said(1, "It is Al."), said(2, "it is al.")])
    assert (built.messages[0].content or "").count("Al.") == 1


def test_a_question_that_does_not_fit_is_refused_with_the_figures() -> None:
    with pytest.raises(ContextLengthError, match=r"10 tokens and the window holds 12, 10 of them"):
        window(length=12)


def test_a_tool_call_stays_with_its_result() -> None:
    call = ToolCall(id="c", name="clock", arguments={})
    history = [
        said(0, "What time is it?"),
        Candidate(ChatMessage(role=Role.assistant, tool_calls=[call]), UUID(int=1)),
        Candidate(ChatMessage(role=Role.tool, content="noon " * 8, tool_call_id="c"), UUID(int=2)),
        said(3, "It is noon.", Role.assistant),
    ]
    for length in range(20, 60):
        roles = [m.role for m in window(history, length=length).messages]
        assert (Role.tool in roles) == (roles.count(Role.assistant) == 2)


turns = st.lists(
    st.tuples(st.sampled_from([Role.user, Role.assistant]), st.integers(1, 30)), max_size=30
).map(lambda rows: [said(i, "w " * n, role) for i, (role, n) in enumerate(rows)])


@given(history=turns, found=turns, length=st.integers(20, 200), share=st.floats(0, 1))
def test_invariants(
    history: list[Candidate], found: list[Candidate], length: int, share: float
) -> None:
    budget = Budget(length, 5, share)
    memories = [said(100 + i, f"{c.text} {i}", score=0.5) for i, c in enumerate(found)]

    def build() -> Window:
        return assemble(
            "m",
            system="Be kind.",
            history=history,
            memories=memories,
            question=ask(),
            budget=budget,
            count=count,
        )

    built = build()

    assert built == build(), "same input, same output"
    assert built.receipt.n_tokens == count(built.messages) <= budget.prompt_tokens
    assert (built.messages[0].content or "").startswith("Be kind.")
    assert built.messages[-1:] == ask()
    recent = built.messages[1:-1]
    tail = [turn.message for turn in history][len(history) - len(recent) :]
    assert recent == tail, "the newest turns, in order, without a gap"
