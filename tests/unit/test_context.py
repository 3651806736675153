from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.context import (
    Budget,
    Candidate,
    Citation,
    Claim,
    Digest,
    Source,
    assemble,
    documents,
    facts,
    memories,
    summaries,
)
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


def count_text(text: str) -> int:
    return len(text.split())


def said(index: int, text: str, role: Role = Role.user, score: float | None = None) -> Candidate:
    message = ChatMessage(role=role, content=text)
    return Candidate(message, UUID(int=index), START + timedelta(days=index), index, score)


def ask(text: str = "Who is it?") -> list[ChatMessage]:
    return [ChatMessage(role=Role.user, content=text)]


def passage(start: int, text: str, score: float | None = None) -> Candidate:
    message = ChatMessage(role=Role.system, content=text)
    place = Citation("notes.pdf, page 2", start, start + len(text))
    return Candidate(message, UUID(int=900), START, start, score, place)


def told(first: int, last: int, text: str = "- Bo barks.", level: int = 1) -> Digest:
    return Digest(
        message=ChatMessage(role=Role.system, content=text),
        source_id=UUID(int=1000 + first),
        said_at=START + timedelta(days=last),
        position=last,
        level=level,
        first_position=first,
    )


def known(
    first: int | None, last: int, text: str = "Bo barks.", score: float | None = None, n: int = 0
) -> Claim:
    return Claim(
        message=ChatMessage(role=Role.system, name="fact", content=text),
        source_id=UUID(int=2000 + 100 * n + last),
        said_at=START + timedelta(days=last),
        position=last,
        score=score,
        first_position=first,
    )


def sources(
    remembered: Sequence[Candidate] = (),
    read: Sequence[Candidate] = (),
    summed_up: Sequence[Digest] = (),
    claims: Sequence[Claim] = (),
    *,
    share: float = 0.5,
    summary_share: float = 0.4,
    keep: int = 0,
    weights: Sequence[float] = (1, 1, 1, 1),
) -> list[Source]:
    return [
        documents(read, share=share, most=8),
        memories(remembered, share=share, most=12),
        facts(claims, share=share, most=5),
        summaries(summed_up, share=summary_share, level_weights=weights, keep_messages=keep),
    ]


def window(
    history: Sequence[Candidate] = (),
    remembered: Sequence[Candidate] = (),
    read: Sequence[Candidate] = (),
    *,
    summed_up: Sequence[Digest] = (),
    claims: Sequence[Claim] = (),
    system: str | None = "Be kind.",
    length: int = 100,
    answer: int = 10,
    keep: int = 0,
    weights: Sequence[float] = (1, 1, 1, 1),
) -> Window:
    return assemble(
        "m",
        system=system,
        history=history,
        sources=sources(remembered, read, summed_up, claims, keep=keep, weights=weights),
        question=ask(),
        budget=Budget(length, answer),
        count=count,
        count_text=count_text,
    )


def shown(built: Window, kind: SourceKind) -> list[str]:
    return [item.text for item in built.receipt.items if item.kind is kind and item.included]


def reasons(built: Window, kind: SourceKind) -> list[tuple[bool, str]]:
    return [(i.included, i.reason) for i in built.receipt.items if i.kind is kind]


TALK = [said(i, f"Number {i} of a long talk.") for i in range(40)]
"""Messages of 8 tokens."""


def test_a_system_prompt_stands_word_for_word() -> None:
    built = window(remembered=[said(0, "My dog is Bo.", score=0.9)], system="\n\nBe kind.")

    assert (built.messages[0].content or "").startswith("\n\nBe kind.\n\nMemories:\n- 2026-11-01")


def test_memories_without_a_system_prompt_begin_with_their_heading() -> None:
    built = window(remembered=[said(0, "My dog is Bo.", score=0.9)], system=None)

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
    system = window(remembered=[newer, older]).messages[0].content
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
    built = window(remembered=[said(1, "It is Al."), said(2, "it is al.")])
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


def test_a_summary_stands_dated_in_the_place_of_what_it_covers() -> None:
    built = window(TALK, summed_up=[told(0, 35, "- Bo barks.\n- Al sings.")], keep=2)

    assert built.messages[0].content == (
        "Be kind.\n\nMemories:\n- 2026-12-06 summary: Bo barks. Al sings."
    )
    assert shown(built, SourceKind.recent) == [turn.text for turn in TALK[36:]]
    assert reasons(built, SourceKind.summary) == [(True, "summary of level 1, of messages 0 to 35")]
    assert (False, "a summary in the window covers them") in reasons(built, SourceKind.recent)


def test_the_newest_messages_stay_though_a_summary_covers_them() -> None:
    built = window(TALK, summed_up=[told(0, 39)], keep=3)

    assert shown(built, SourceKind.recent) == [turn.text for turn in TALK[37:]]


def test_messages_that_a_long_way_back_fit_stay_as_long_as_that_is_wanted() -> None:
    built = window(TALK, summed_up=[told(0, 37)], keep=1000)

    assert len(shown(built, SourceKind.recent)) > 5
    assert len(shown(built, SourceKind.summary)) == 1


def test_a_conversation_that_fits_needs_no_summary() -> None:
    built = window(TALK[:5], summed_up=[told(0, 3)])

    assert shown(built, SourceKind.recent) == [turn.text for turn in TALK[:5]]
    ((included, why),) = reasons(built, SourceKind.summary)
    assert (included, why.rsplit(": ")[1]) == (False, "they stand word for word")


def test_what_no_summary_covers_stays_while_it_fits() -> None:
    built = window(TALK, summed_up=[told(0, 33)])

    assert shown(built, SourceKind.recent) == [turn.text for turn in TALK[34:]]


def test_a_summary_without_points_takes_no_space() -> None:
    built = window(TALK, summed_up=[told(0, 37, "")])

    assert built.messages[0].content == "Be kind."
    assert shown(built, SourceKind.recent) == [turn.text for turn in TALK[38:]]


def test_a_summary_stands_after_the_memories_of_what_it_covers() -> None:
    remembered = [said(3, "My dog is Bo.", score=0.9), said(38, "It is Cy.", score=0.8)]
    built = window(TALK[:38], remembered, summed_up=[told(0, 35, "- The dog is Al.")])

    lines = (built.messages[0].content or "").splitlines()[3:]
    assert [line.split(" is ")[1] for line in lines] == ["Bo.", "Al.", "Cy."]


def test_levels_share_the_space_by_their_weights() -> None:
    long = "- " + "w " * 14
    levels = [told(0, 9, long, 2), told(10, 14, long, 1), told(15, 19, long, 1)]

    first = window(TALK, summed_up=levels, weights=(1, 0, 0, 0))
    second = window(TALK, summed_up=levels, weights=(0, 1, 0, 0))

    assert [why.split()[3] for included, why in reasons(first, SourceKind.summary) if included] == [
        "1,"
    ]
    assert [
        why.split()[3] for included, why in reasons(second, SourceKind.summary) if included
    ] == ["2,"]


def test_documents_memories_and_summaries_stand_in_two_blocks() -> None:
    built = window(
        TALK,
        [said(3, "My dog is Bo.", score=0.9)],
        [passage(0, "Cats sleep.")],
        summed_up=[told(0, 35, "- Al sings.")],
        length=140,
        keep=2,
    )

    assert built.messages[0].content == (
        "Be kind.\n\nDocuments:\n- 2026-11-01 notes.pdf, page 2: Cats sleep."
        "\n\nMemories:\n- 2026-11-04 user: My dog is Bo.\n- 2026-12-06 summary: Al sings."
    )
    assert [i.role for i in built.receipt.items if i.kind is SourceKind.summary] == [None]


def test_facts_stand_below_the_memories_the_best_last() -> None:
    best, other = known(None, 4, "Bo sleeps.", 0.9), known(None, 7, "Al sings.", 0.4)
    beside = window(TALK, [said(3, "My dog is Bo.", score=0.9)], claims=[best, other], keep=2)
    alone = window(TALK, summed_up=[told(0, 35)], claims=[best, other], length=140, keep=2)

    block = "\n\nFacts:\n- 2026-11-08 fact: Al sings.\n- 2026-11-05 fact: Bo sleeps."
    assert beside.messages[0].content == (
        f"Be kind.\n\nMemories:\n- 2026-11-04 user: My dog is Bo.{block}"
    )
    assert (alone.messages[0].content or "").endswith(f"summary: Bo barks.{block}")
    items = [i for i in beside.receipt.items if i.kind is SourceKind.fact]
    assert [(i.score, i.role, i.reason) for i in items] == [
        (0.4, None, "bears on the question"),
        (0.9, None, "bears on the question"),
    ]


@pytest.mark.parametrize(
    ("first", "stands"), [(None, True), (10, True), (32, True), (36, False), (38, False)]
)
def test_a_fact_whose_messages_stand_among_the_recent_ones_is_left_out(
    first: int | None, stands: bool
) -> None:
    built = window(TALK, claims=[known(first, 39)], length=78)

    assert shown(built, SourceKind.recent)[0] in {TALK[33].text, TALK[34].text}
    why = "bears on the question" if stands else "stands among the recent messages"
    assert reasons(built, SourceKind.fact) == [(stands, why)]


def test_a_conversation_that_fits_needs_no_fact_of_its_own() -> None:
    built = window(TALK[:8], claims=[known(0, 5), known(None, 6, "Al sings.")], length=120)

    assert len(shown(built, SourceKind.recent)) == 8
    assert shown(built, SourceKind.fact) == ["Al sings."]


turns = st.lists(
    st.tuples(st.sampled_from([Role.user, Role.assistant]), st.integers(1, 30)), max_size=30
).map(lambda rows: [said(i, "w " * n, role) for i, (role, n) in enumerate(rows)])


def test_passages_stand_under_their_source_the_best_last() -> None:
    best, other = passage(40, "Ann's dog is Bo.", 0.9), passage(7, "Cats sleep.", 0.4)
    built = window(read=[best, other], remembered=[said(0, "My cat is Al.")])

    assert built.messages[0].content == (
        "Be kind.\n\nDocuments:\n- 2026-11-01 notes.pdf, page 2: Cats sleep.\n"
        "- 2026-11-01 notes.pdf, page 2: Ann's dog is Bo."
        "\n\nMemories:\n- 2026-11-01 user: My cat is Al."
    )
    items = [i for i in built.receipt.items if i.kind is SourceKind.document]
    assert [(i.source, i.start, i.end, i.score, i.role) for i in items] == [
        ("notes.pdf, page 2", 7, 18, 0.4, None),
        ("notes.pdf, page 2", 40, 56, 0.9, None),
    ]


def test_a_passage_that_stands_in_two_documents_stands_once() -> None:
    built = window(read=[passage(0, "It is Al."), passage(9, "it is al.")])

    out = [i.reason for i in built.receipt.items if not i.included]
    assert (built.messages[0].content or "").count("Al.") == 1
    assert out == ["says the same as another passage"]


def test_what_documents_do_not_use_goes_to_recent_talk() -> None:
    history = [said(i, "w " * 10) for i in range(20)]

    without, beside = window(history), window(history, read=[passage(0, "Short.")])

    assert len(without.messages) - len(beside.messages) <= 1


def test_passages_take_no_more_than_their_share() -> None:
    built = window(read=[passage(i, f"word {i}") for i in range(0, 300, 10)], length=80)

    taken = [i.n_tokens for i in built.receipt.items if i.kind is SourceKind.document]
    standing = [i for i in built.receipt.items if i.kind is SourceKind.document and i.included]
    assert 0 < sum(i.n_tokens for i in standing) <= (80 - 10) / 2
    assert len(taken) == 30
    left = {i.reason for i in built.receipt.items if not i.included}
    assert left == {"no space left for documents"}


spans = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 30), st.integers(1, 4)), max_size=5)


@given(
    history=turns,
    found=turns,
    read=turns,
    covered=spans,
    stated=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=9),
    length=st.integers(20, 200),
    share=st.floats(0, 1),
    summary_share=st.floats(0, 1),
    keep=st.integers(0, 12),
)
def test_invariants(
    history: list[Candidate],
    found: list[Candidate],
    read: list[Candidate],
    covered: list[tuple[int, int, int]],
    stated: list[tuple[int, int]],
    length: int,
    share: float,
    summary_share: float,
    keep: int,
) -> None:
    budget = Budget(length, 5)
    remembered = [said(100 + i, f"{c.text} {i}", score=0.5) for i, c in enumerate(found)]
    passages = [passage(100 * i, f"{c.text} p{i}", 1 / (1 + i)) for i, c in enumerate(read)]
    claims = [
        known(first, first + 9, f"{'w ' * n_words}f{i}", 1 / (1 + i), i)
        for i, (first, n_words) in enumerate(stated)
    ]
    summed_up: list[Digest] = []
    for n_messages, n_words, level in covered:
        first = summed_up[-1].position + 1 if summed_up else 0
        text = "- " + "w " * n_words if n_words else ""
        summed_up.append(told(first, first + n_messages - 1, text, level))

    def build() -> Window:
        return assemble(
            "m",
            system="Be kind.",
            history=history,
            sources=sources(
                remembered,
                passages,
                summed_up,
                claims,
                share=share,
                summary_share=summary_share,
                keep=keep,
            ),
            question=ask(),
            budget=budget,
            count=count,
            count_text=count_text,
        )

    built = build()

    assert built == build(), "same input, same output"
    assert built.receipt.n_tokens == count(built.messages) <= budget.prompt_tokens
    assert (built.messages[0].content or "").startswith("Be kind.")
    assert built.messages[-1:] == ask()
    recent = built.messages[1:-1]
    n_left = len(history) - len(recent)
    tail = [turn.message for turn in history][n_left:]
    assert recent == tail, "the newest turns, in order, without a gap"
    for kind, all_of_it in (
        (SourceKind.summary, summed_up),
        (SourceKind.memory, remembered),
        (SourceKind.document, passages),
        (SourceKind.fact, claims),
    ):
        items = [item for item in built.receipt.items if item.kind is kind]
        assert len(items) == len(all_of_it), "every piece is accounted for"
        if kind is SourceKind.summary:
            continue  # it stands on one line, whose words the receipt has in several
        lines = (built.messages[0].content or "").splitlines()
        assert all(any(item.text in line for line in lines) for item in items if item.included)
    scores = [i.score or 0 for i in items if i.included]
    assert scores == sorted(scores), "the most relevant passage stands last"
    included = {i.source_id for i in built.receipt.items if i.included}
    stand = [digest for digest in summed_up if digest.source_id in included]
    if n_left == 0:
        assert not stand or not history, "what stands word for word is not summed up"
    left = [
        (i.reason, int(i.text.split()[0]))
        for i in built.receipt.items
        if i.kind is SourceKind.recent and not i.included
    ]
    assert sum(n for _, n in left) == n_left
    assert stand or "a summary in the window covers them" not in dict(left)
