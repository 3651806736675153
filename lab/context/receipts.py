"""Say of every piece that was considered why it is in the window or not."""

from collections.abc import Sequence

from lab.context.costs import Costs
from lab.context.pieces import Candidate, Chosen, Exchange
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind


def receipt_items(
    system: str | None,
    chosen: Sequence[Chosen],
    exchanges: Sequence[Exchange],
    recent: Sequence[Exchange],
    question: Sequence[ChatMessage],
    costs: Costs,
) -> list[ReceiptItem]:
    """Return one item a piece, in the order of the window; what was left out follows its kind."""
    head = [ChatMessage(role=Role.system, content=system)] if system else []
    turns = [turn for exchange in recent for turn in exchange]
    keys = {turn.key for turn in turns}
    return [
        *(_said(SourceKind.system, Candidate(m), costs, "the system prompt") for m in head),
        *(item for one in chosen for item in _found_items(one, keys, costs)),
        *_left_out(_n_before(exchanges) - len(turns)),
        *(_said(SourceKind.recent, turn, costs, "said recently") for turn in turns),
        *(_said(SourceKind.question, Candidate(m), costs, "what to answer") for m in question),
    ]


def _found_items(chosen: Chosen, recent: set[object], costs: Costs) -> list[ReceiptItem]:
    source = chosen.source
    picked = {piece.key for piece in chosen.pieces}
    sayings = {piece.saying for piece in chosen.pieces}
    items = [
        _found(source.kind, piece, costs, "bears on the question") for piece in chosen.standing
    ]
    for piece in source.candidates:
        if piece.key in picked:
            continue
        if piece.key in recent:
            why = "stands among the recent messages"
        elif piece.saying in sayings:
            why = f"says the same as another {source.one}"
        else:
            why = f"no space left for {source.many}"
        items.append(_found(source.kind, piece, costs, why, included=False))
    return items


def _found(
    kind: SourceKind, piece: Candidate, costs: Costs, why: str, *, included: bool = True
) -> ReceiptItem:
    cited = piece.citation
    return ReceiptItem(
        kind=kind,
        source_id=piece.source_id,
        source=cited.source if cited else None,
        start=cited.start if cited else None,
        end=cited.end if cited else None,
        role=None if cited else piece.message.role,
        text=piece.text,
        said_at=piece.said_at,
        n_tokens=costs.of_line(piece),
        score=piece.score,
        included=included,
        reason=why,
    )


def _said(kind: SourceKind, turn: Candidate, costs: Costs, why: str) -> ReceiptItem:
    return ReceiptItem(
        kind=kind,
        source_id=turn.source_id,
        role=turn.message.role,
        text=turn.message.content or "",
        said_at=turn.said_at,
        n_tokens=costs.of_message(turn.message),
        included=True,
        reason=why,
    )


def _n_before(exchanges: Sequence[Exchange]) -> int:
    """Return the messages of the conversation, those before the first exchange given included."""
    first = exchanges[0][0].position if exchanges else 0
    return first + sum(map(len, exchanges))


def _left_out(n_messages: int) -> list[ReceiptItem]:
    """Stand for all earlier messages in one item: a long chat has thousands of them."""
    if not n_messages:
        return []
    return [
        ReceiptItem(
            kind=SourceKind.recent,
            text=f"{n_messages} earlier messages",
            n_tokens=0,
            included=False,
            reason="no space; they are searched for each question",
        )
    ]
