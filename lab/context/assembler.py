"""
Build the window of one answer, and the receipt that says why it looks so.

The system prompt and the question always stand in the window. Of what is left, memories may take
their share, recent exchanges fill the rest from the newest back, and what memories do not use goes
to older exchanges. Exchanges go in whole, so a tool call is never parted from its result.
"""

from collections.abc import Sequence

from lab.context.costs import Costs, CountTokens
from lab.context.pieces import (
    Budget,
    Candidate,
    Exchange,
    exchanges_of,
    oldest_first,
)
from lab.context.receipts import receipt_items
from lab.errors import ContextLengthError
from lab.prompts import MEMORIES_HEADING
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.window import Window


def assemble(
    model: str,
    *,
    system: str | None,
    history: Sequence[Candidate],
    memories: Sequence[Candidate],
    question: Sequence[ChatMessage],
    budget: Budget,
    count: CountTokens,
) -> Window:
    """
    Share the window out between system prompt, memories, recent exchanges and the question.

    Parameters
    ----------
    model : str
        Id of the model, for the receipt.
    system : str, optional
        System prompt.
    history : sequence of Candidate
        Earlier turns of this conversation, oldest first.
    memories : sequence of Candidate
        Turns that bear on the question, best first; those in the window anyway are skipped.
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
    recent, chosen = _share(exchanges, memories, costs, budget, budget.prompt_tokens - n_base)
    messages = _messages(system, chosen, recent, question)
    while (n_tokens := count(messages)) > budget.prompt_tokens:
        recent, chosen = (recent[1:], chosen) if recent else (recent, chosen[:-1])
        messages = _messages(system, chosen, recent, question)
    receipt = Receipt(
        model=model,
        context_length=budget.context_length,
        answer_tokens=budget.answer_tokens,
        n_tokens=n_tokens,
        items=receipt_items(system, memories, chosen, exchanges, recent, question, costs),
    )
    return Window(messages=messages, receipt=receipt)


def _share(
    exchanges: Sequence[Exchange],
    memories: Sequence[Candidate],
    costs: Costs,
    budget: Budget,
    space: int,
) -> tuple[list[Exchange], list[Candidate]]:
    """Return the recent exchanges, oldest first, and the memories, best first, that fit."""
    for_memories = int(space * budget.memory_share) if memories else 0
    recent = _newest(exchanges, costs, space - for_memories)
    chosen = _best(memories, recent, costs, for_memories)[: budget.max_memories]
    left = space - costs.of_exchanges(recent) - costs.of_memories(chosen)
    earlier = exchanges[: len(exchanges) - len(recent)]
    return _newest(earlier, costs, left, unless_in=chosen) + recent, chosen


def _newest(
    exchanges: Sequence[Exchange],
    costs: Costs,
    space: int,
    *,
    unless_in: Sequence[Candidate] = (),
) -> list[Exchange]:
    """Return the newest exchanges that fit, oldest first, up to one that is among the memories."""
    taken: list[Exchange] = []
    memories = {turn.key for turn in unless_in}
    for exchange in reversed(exchanges):
        space -= costs.of_exchanges([exchange])
        if space < 0 or any(turn.key in memories for turn in exchange):
            break
        taken.insert(0, exchange)
    return taken


def _best(
    memories: Sequence[Candidate], recent: Sequence[Exchange], costs: Costs, space: int
) -> list[Candidate]:
    """Return the best memories that fit and are not in the window yet, best first."""
    seen = {turn.key for exchange in recent for turn in exchange}
    said: set[object] = set()
    chosen: list[Candidate] = []
    space -= costs.of_heading()
    for turn in memories:
        if not turn.text or turn.key in seen or turn.saying in said:
            continue
        if costs.of_line(turn) <= space:
            space -= costs.of_line(turn)
            said.add(turn.saying)
            chosen.append(turn)
    return chosen


def _messages(
    system: str | None,
    memories: Sequence[Candidate],
    recent: Sequence[Exchange],
    question: Sequence[ChatMessage],
) -> list[ChatMessage]:
    lines = "\n".join(turn.line for turn in oldest_first(memories))
    block = MEMORIES_HEADING + lines if memories else ""
    text = system + block if system else block.lstrip("\n")
    head = [ChatMessage(role=Role.system, content=text)] if text else []
    return [*head, *(turn.message for exchange in recent for turn in exchange), *question]
