"""Say of every piece that was considered why it is in the window or not."""

from collections.abc import Sequence

from lab.context.costs import Costs
from lab.context.pieces import Candidate, Digest, Exchange, oldest_first
from lab.context.sharing import Shares
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind


def receipt_items(
    system: str | None,
    memories: Sequence[Candidate],
    summaries: Sequence[Digest],
    exchanges: Sequence[Exchange],
    shares: Shares,
    question: Sequence[ChatMessage],
    costs: Costs,
) -> list[ReceiptItem]:
    """Return one item a piece, in the order of the window; what was left out follows its kind."""
    head = [ChatMessage(role=Role.system, content=system)] if system else []
    turns = [turn for exchange in shares.recent for turn in exchange]
    return [
        *(_said(SourceKind.system, Candidate(m), costs, "the system prompt") for m in head),
        *_summary_items(summaries, shares.summaries, turns, costs),
        *_memory_items(memories, shares.memories, {turn.key for turn in turns}, costs),
        *_left_out(_n_before(exchanges) - len(turns), _n_covered(shares.summaries, turns)),
        *(_said(SourceKind.recent, turn, costs, "said recently") for turn in turns),
        *(_said(SourceKind.question, Candidate(m), costs, "what to answer") for m in question),
    ]


def _summary_items(
    summaries: Sequence[Digest],
    told: Sequence[Digest],
    turns: Sequence[Candidate],
    costs: Costs,
) -> list[ReceiptItem]:
    begin = _first_position(turns)
    items = [_summary(digest, costs, "") for digest in told]
    for digest in summaries:
        if digest not in told:
            whole = begin is not None and digest.first_position >= begin
            why = "they stand word for word" if whole else "no space left for summaries"
            items.append(_summary(digest, costs, f": {why}", included=False))
    return items


def _summary(digest: Digest, costs: Costs, why: str, *, included: bool = True) -> ReceiptItem:
    covered = f"messages {digest.first_position} to {digest.last_position}"
    return ReceiptItem(
        kind=SourceKind.summary,
        source_id=digest.source_id,
        text=digest.text,
        said_at=digest.said_at,
        n_tokens=costs.of_line(digest),
        included=included,
        reason=f"summary of level {digest.level}, of {covered}{why}",
    )


def _n_covered(told: Sequence[Digest], turns: Sequence[Candidate]) -> int:
    """Return the messages before the recent ones that summaries in the window cover."""
    begin = _first_position(turns)
    ends = (d.last_position + 1 if begin is None else min(begin, d.last_position + 1) for d in told)
    return sum(max(0, end - d.first_position) for end, d in zip(ends, told, strict=True))


def _first_position(turns: Sequence[Candidate]) -> int | None:
    return next((turn.position for turn in turns if turn.source_id), None)


def _memory_items(
    memories: Sequence[Candidate], chosen: Sequence[Candidate], recent: set[object], costs: Costs
) -> list[ReceiptItem]:
    picked = {turn.key for turn in chosen}
    sayings = {turn.saying for turn in chosen}
    items = [_memory(turn, costs, "bears on the question") for turn in oldest_first(chosen)]
    for turn in memories:
        if turn.key in picked:
            continue
        if turn.key in recent:
            why = "stands among the recent messages"
        elif turn.saying in sayings:
            why = "says the same as another memory"
        else:
            why = "no space left for memories"
        items.append(_memory(turn, costs, why, included=False))
    return items


def _memory(turn: Candidate, costs: Costs, why: str, *, included: bool = True) -> ReceiptItem:
    return ReceiptItem(
        kind=SourceKind.memory,
        source_id=turn.source_id,
        role=turn.message.role,
        text=turn.text,
        said_at=turn.said_at,
        n_tokens=costs.of_line(turn),
        score=turn.score,
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


def _left_out(n_messages: int, n_covered: int) -> list[ReceiptItem]:
    """Stand for all earlier messages in an item or two: a long chat has thousands of them."""
    covered = min(n_messages, n_covered)
    reasons = {
        "a summary in the window covers them": covered,
        "no space; they are searched for each question": n_messages - covered,
    }
    return [
        ReceiptItem(
            kind=SourceKind.recent,
            text=f"{n} earlier messages",
            n_tokens=0,
            included=False,
            reason=reason,
        )
        for reason, n in reasons.items()
        if n > 0
    ]
