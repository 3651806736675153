from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from lab.schemas.member_receipt import MemberReceipt
from lab.schemas.receipt import Receipt
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.route import Route
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.source_kind import SourceKind
from lab.schemas.usage import Usage
from lab.widgets.receipt import receipt_html

ID = UUID(int=1)
NOW = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)


def item(kind: SourceKind, text: str, n_tokens: int, **values: Any) -> ReceiptItem:
    given = {"included": True, "reason": "because", **values}
    return ReceiptItem(kind=kind, text=text, n_tokens=n_tokens, **given)


def run(*items: ReceiptItem) -> Run:
    return Run(
        id=ID,
        owner_id=ID,
        kind=RunKind.chat,
        status=RunStatus.completed,
        created_at=NOW,
        parameters={"seed": 7},
        usage=Usage(
            prompt_tokens=90, completion_tokens=8, total_tokens=98, first_token_ms=30, total_ms=75
        ),
        receipt=Receipt(
            model="lab-tiny", context_length=1024, answer_tokens=256, n_tokens=90, items=list(items)
        ),
    )


def test_a_summary_shows_what_it_covers() -> None:
    why = "summary of level 2, of messages 0 to 29"
    told = item(SourceKind.summary, "- Bo barks.\n- Al sings.", 12, said_at=NOW, reason=why)

    html = receipt_html(run(told))

    assert "<h4>Summaries</h4>" in html
    assert "lab-edge-summary" in html
    assert "- Bo barks.\n- Al sings." in html
    assert why in html


def test_a_memory_shows_text_date_score_and_reason() -> None:
    said = item(
        SourceKind.memory,
        "My dog is called Zamiko.",
        20,
        role=Role.user,
        said_at=NOW,
        score=0.834,
        reason="bears on the question",
    )

    html = receipt_html(run(said))

    assert "<h4>Memories</h4>" in html
    assert "My dog is called Zamiko." in html
    assert '<time datetime="2026-11-03T09:30:00+00:00">' in html
    assert "score 0.83 · 20 tokens · bears on the question" in html


def test_a_passage_shows_where_it_stands() -> None:
    cited = item(
        SourceKind.document, "The code is 4711.", 9, source="<a>.pdf, page 3", start=1200, end=1217
    )

    html = receipt_html(run(cited))

    assert "<h4>Documents</h4>" in html
    assert "&lt;a&gt;.pdf, page 3, characters 1,200–1,217" in html


def test_memories_that_could_not_be_compared_are_counted() -> None:
    plain = run()
    assert plain.receipt is not None
    receipt = plain.receipt.model_copy(update={"n_waiting": 1200})

    html = receipt_html(plain.model_copy(update={"receipt": receipt}))

    assert "1,200 memories were made by another embedding model" in html
    assert "reembed" not in receipt_html(plain)


def test_each_of_a_team_shows_what_it_saw_and_used() -> None:
    plain = run(item(SourceKind.question, "Which?", 10))
    assert plain.receipt is not None
    saw = [item(SourceKind.system, "You are <anton>.", 9)]
    window = {"context_length": 8192, "answer_tokens": 256, "n_tokens": 1020}
    members = [
        MemberReceipt(profile="anton", model="small", items=saw, usage=plain.usage, **window),
        MemberReceipt(profile="berta", model="small", error="It is <away>."),
    ]
    receipt = plain.receipt.model_copy(update={"members": members})

    html = receipt_html(plain.model_copy(update={"receipt": receipt}))

    assert "<b>anton</b>: 1,020 of 8,192 tokens of small’s window · 90 + 8 tokens" in html
    assert "You are &lt;anton&gt;." in html
    assert "could not answer: It is &lt;away&gt;." in html


def test_the_account_adds_up_to_the_window() -> None:
    html = receipt_html(
        run(item(SourceKind.system, "Be kind.", 30), item(SourceKind.question, "?", 10))
    )

    assert 'aria-label="Tokens: System prompt 30, Question 10, Chat template 50, ' in html
    assert 'Kept for the answer 256, Free 678"' in html
    assert 30 + 10 + 50 + 256 + 678 == 1024


def test_what_was_left_out_is_listed_and_not_counted() -> None:
    out = item(SourceKind.memory, "I like tea.", 12, included=False, reason="no space left")

    html = receipt_html(run(out))

    assert "Left out (1)" in html
    assert "no space left" in html
    assert "<h4>Memories</h4>" not in html
    assert "lab-share lab-kind-memory" not in html


def test_cost_seed_and_run_are_told() -> None:
    html = receipt_html(run())

    assert "90 + 8 tokens · first after 30 ms · 75 ms in all · seed 7" in html
    assert f"run <code>{ID}</code>" in html


def test_texts_cannot_run() -> None:
    html = receipt_html(run(item(SourceKind.memory, "<script>alert(1)</script>", 9, reason="<i>")))

    assert "<script>" not in html
    assert "<i>" not in html


def test_a_run_that_never_asked_the_model_says_so() -> None:
    failed = run().model_copy(update={"receipt": None})

    assert "ended before" in receipt_html(failed)


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        ({"source": "default"}, ""),
        ({"source": "request"}, "Workflow <b>planning</b>, chosen by the request."),
        (
            {"source": "intent", "intent": "planning", "confidence": 0.987},
            "chosen by the message, which wants <b>planning</b> (99%).",
        ),
        ({"source": "default", "reason": "No <model>."}, "nothing else was told. No &lt;model&gt;"),
    ],
)
def test_it_says_which_workflow_answered_and_why(route: dict[str, Any], shown: str) -> None:
    answered = run()
    assert answered.receipt is not None
    way = Route.model_validate({"workflow": "planning", **route})
    receipt = answered.receipt.model_copy(update={"route": way})

    html = receipt_html(answered.model_copy(update={"receipt": receipt}))

    assert shown in html
    assert ("Workflow" in html) == bool(shown)
