"""Say of every piece that was considered why it is in the window or not."""

from collections.abc import Sequence

from lab.context.costs import Costs
from lab.context.pieces import Candidate, Chosen, Claim, Digest, Exchange
from lab.context.sharing import Shares, n_missing
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind


def receipt_items(
    system: str | None,
    exchanges: Sequence[Exchange],
    shares: Shares,
    question: Sequence[ChatMessage],
    costs: Costs,
) -> list[ReceiptItem]:
    """Return one item a piece, in the order of the window; what was left out follows its kind."""
    head = [ChatMessage(role=Role.system, content=system)] if system else []
    turns = [turn for exchange in shares.recent for turn in exchange]
    n_before = n_missing(exchanges) + sum(map(len, exchanges)) - len(turns)
    return [
        *(_said(SourceKind.system, Candidate(m), costs, "the system prompt") for m in head),
        *(item for one in shares.chosen for item in _found_items(one, shares, costs)),
        *_left_out(n_before, _n_covered(shares)),
        *(
            _said(SourceKind.recent, turn, costs, _of_calls(turn.message) or "said recently")
            for turn in turns
        ),
        *(
            _said(SourceKind.question, Candidate(m), costs, _of_calls(m) or "what to answer")
            for m in question
        ),
    ]


def _of_calls(message: ChatMessage) -> str:
    """Return what a message has to do with calls of tools; "" for nothing."""
    if message.tool_calls:
        return "calls " + ", ".join(call.name for call in message.tool_calls)
    return "what a tool answered" if message.role is Role.tool else ""


def _found_items(chosen: Chosen, shares: Shares, costs: Costs) -> list[ReceiptItem]:
    kind = chosen.source.kind
    picked = {piece.key for piece in chosen.pieces}
    others = [piece for piece in chosen.source.candidates if piece.key not in picked]
    return [
        *(_found(kind, piece, costs, _why(piece)) for piece in chosen.standing),
        *(
            _found(kind, piece, costs, _why_not(piece, chosen, shares), included=False)
            for piece in others
        ),
    ]


def _why(piece: Candidate) -> str:
    if isinstance(piece, Digest):
        covered = f"messages {piece.first_position} to {piece.position}"
        return f"summary of level {piece.level}, of {covered}"
    return "bears on the question"


def _why_not(piece: Candidate, chosen: Chosen, shares: Shares) -> str:
    no_space = f"no space left for {chosen.source.many}"
    if isinstance(piece, Digest):
        whole = shares.begin is not None and piece.first_position >= shares.begin
        return f"{_why(piece)}: {'they stand word for word' if whole else no_space}"
    if shares.say(piece):
        return "stands among the recent messages"
    if any(piece.saying == other.saying for other in chosen.pieces):
        return f"says the same as another {chosen.source.one}"
    return no_space


def _found(
    kind: SourceKind, piece: Candidate, costs: Costs, why: str, *, included: bool = True
) -> ReceiptItem:
    cited = piece.citation
    said = not cited and not isinstance(piece, Claim | Digest)
    return ReceiptItem(
        kind=kind,
        source_id=piece.source_id,
        source=cited.source if cited else None,
        start=cited.start if cited else None,
        end=cited.end if cited else None,
        role=piece.message.role if said else None,
        shared_by=piece.shared_by,
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


def _n_covered(shares: Shares) -> int:
    """Return the messages before the recent ones that summaries in the window cover."""
    n_covered = 0
    for digest in (p for one in shares.chosen for p in one.pieces if isinstance(p, Digest)):
        end = digest.position + 1
        end = end if shares.begin is None else min(end, shares.begin)
        n_covered += max(0, end - digest.first_position)
    return n_covered


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
