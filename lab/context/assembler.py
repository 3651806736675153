"""
Build the window of one answer, and the receipt that says why it looks so.

The system prompt and the question always stand in the window. Of what is left, each source
(memories, documents) may take its share, recent exchanges fill the rest from the newest back, and
what the sources do not use goes to older exchanges. Exchanges go in whole, so a tool call is never
parted from its result.
"""

from collections.abc import Sequence
from dataclasses import replace

from lab.context.costs import Costs, CountTokens
from lab.context.pieces import Budget, Candidate, Chosen, Exchange, Source, exchanges_of
from lab.context.receipts import receipt_items
from lab.errors import ContextLengthError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.window import Window


def assemble(
    model: str,
    *,
    system: str | None,
    history: Sequence[Candidate],
    sources: Sequence[Source],
    question: Sequence[ChatMessage],
    budget: Budget,
    count: CountTokens,
) -> Window:
    """
    Share the window out between system prompt, sources, recent exchanges and the question.

    Parameters
    ----------
    model : str
        Id of the model, for the receipt.
    system : str, optional
        System prompt.
    history : sequence of Candidate
        Earlier turns of this conversation, oldest first.
    sources : sequence of Source
        What bears on the question, in the order in which it stands in the system message.
    question : sequence of ChatMessage
        What the model shall answer.
    budget : Budget
        Tokens to share out.
    count : callable
        Tokens of a list of messages under the model's chat template, tools included.

    Returns
    -------
    Window
        Never more than `budget.prompt_tokens` tokens.

    Raises
    ------
    ContextLengthError
        If system prompt and question alone do not fit.
    """
    n_base = count(_messages(system, [], [], question))
    if n_base > budget.prompt_tokens:
        raise ContextLengthError(n_base, budget.context_length, budget.answer_tokens)
    costs = Costs(count)
    exchanges = exchanges_of(history)
    recent, chosen = _share(exchanges, sources, costs, budget.prompt_tokens - n_base)
    messages = _messages(system, chosen, recent, question)
    while (n_tokens := count(messages)) > budget.prompt_tokens:
        recent, chosen = (recent[1:], chosen) if recent else (recent, _without_one(chosen))
        messages = _messages(system, chosen, recent, question)
    receipt = Receipt(
        model=model,
        context_length=budget.context_length,
        answer_tokens=budget.answer_tokens,
        n_tokens=n_tokens,
        items=receipt_items(system, chosen, exchanges, recent, question, costs),
    )
    return Window(messages=messages, receipt=receipt)


def _share(
    exchanges: Sequence[Exchange], sources: Sequence[Source], costs: Costs, space: int
) -> tuple[list[Exchange], list[Chosen]]:
    """Return the recent exchanges, oldest first, and what is chosen of each source."""
    found = [source for source in sources if source.candidates]
    all_shares = max(1.0, sum(source.share for source in found))
    kept = [int(space * source.share / all_shares) for source in found]
    recent = _newest(exchanges, costs, space - sum(kept))
    seen = {turn.key for exchange in recent for turn in exchange}
    chosen = [
        Chosen(source, _best(source, seen, costs, room))
        for source, room in zip(found, kept, strict=True)
    ]
    left = space - costs.of_exchanges(recent) - sum(map(costs.of_block, chosen))
    earlier = exchanges[: len(exchanges) - len(recent)]
    return _newest(earlier, costs, left, unless_in=chosen) + recent, chosen


def _newest(
    exchanges: Sequence[Exchange],
    costs: Costs,
    space: int,
    *,
    unless_in: Sequence[Chosen] = (),
) -> list[Exchange]:
    """Return the newest exchanges that fit, oldest first, up to one that is chosen already."""
    taken: list[Exchange] = []
    standing = {piece.key for chosen in unless_in for piece in chosen.pieces}
    for exchange in reversed(exchanges):
        space -= costs.of_exchanges([exchange])
        if space < 0 or any(turn.key in standing for turn in exchange):
            break
        taken.insert(0, exchange)
    return taken


def _best(source: Source, seen: set[object], costs: Costs, space: int) -> list[Candidate]:
    """Return the best pieces that fit and are not in the window yet, best first."""
    said: set[object] = set()
    chosen: list[Candidate] = []
    space -= costs.of_heading(source)
    for piece in source.candidates:
        if not piece.text or piece.key in seen or piece.saying in said:
            continue
        if costs.of_line(piece) <= space:
            space -= costs.of_line(piece)
            said.add(piece.saying)
            chosen.append(piece)
    return chosen[: source.most]


def _without_one(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Leave out the least relevant piece of the source that has most of them."""
    fullest = max(range(len(chosen)), key=lambda i: len(chosen[i].pieces))
    return [
        replace(one, pieces=one.pieces[:-1]) if i == fullest else one
        for i, one in enumerate(chosen)
    ]


def _messages(
    system: str | None,
    chosen: Sequence[Chosen],
    recent: Sequence[Exchange],
    question: Sequence[ChatMessage],
) -> list[ChatMessage]:
    blocks = "".join(one.block for one in chosen)
    text = system + blocks if system else blocks.lstrip("\n")
    head = [ChatMessage(role=Role.system, content=text)] if text else []
    return [*head, *(turn.message for exchange in recent for turn in exchange), *question]
