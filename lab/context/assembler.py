"""
Build the window of one answer, and the receipt that says why it looks so.

The system prompt and the question always stand in the window; `lab.context.sharing` shares out
what is left. Exchanges go in whole, so a tool call is never parted from its result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.context.costs import Costs, CountTokens
from lab.context.pieces import Budget, Candidate, Digest, Note, exchanges_of, oldest_first
from lab.context.receipts import receipt_items
from lab.context.sharing import Shares, share_out
from lab.errors import ContextLengthError
from lab.prompts import MEMORIES_HEADING
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role


@dataclass(frozen=True)
class Window:
    """What the model gets, and why."""

    messages: list[ChatMessage]
    receipt: Receipt


def assemble(
    model: str,
    *,
    system: str | None,
    history: Sequence[Candidate],
    memories: Sequence[Candidate],
    question: Sequence[ChatMessage],
    budget: Budget,
    count: CountTokens,
    summaries: Sequence[Digest] = (),
) -> Window:
    """
    Share the window out between system prompt, notes, recent exchanges and the question.

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
    summaries : sequence of Digest
        Of this conversation, the earliest first; none covers what another one does.

    Returns
    -------
    Window
        Never more than `budget.prompt_tokens` tokens.

    Raises
    ------
    ContextLengthError
        If system prompt and question alone do not fit.
    """
    n_base = count(_messages(system, Shares(), question))
    if n_base > budget.prompt_tokens:
        raise ContextLengthError(n_base, budget.context_length, budget.answer_tokens)
    costs = Costs(count)
    exchanges = exchanges_of(history)
    space = budget.prompt_tokens - n_base
    shares = share_out(exchanges, memories, summaries, costs, budget, space)
    messages = _messages(system, shares, question)
    while (n_tokens := count(messages)) > budget.prompt_tokens:
        shares = shares.smaller()
        messages = _messages(system, shares, question)
    receipt = Receipt(
        model=model,
        context_length=budget.context_length,
        answer_tokens=budget.answer_tokens,
        n_tokens=n_tokens,
        items=receipt_items(system, memories, summaries, exchanges, shares, question, costs),
    )
    return Window(messages, receipt)


def _messages(
    system: str | None, shares: Shares, question: Sequence[ChatMessage]
) -> list[ChatMessage]:
    found: list[Note] = [*shares.memories, *shares.summaries]
    notes = oldest_first(found)
    lines = "\n".join(note.line for note in notes if note.line)
    block = MEMORIES_HEADING + lines if lines else ""
    text = system + block if system else block.lstrip("\n")
    head = [ChatMessage(role=Role.system, content=text)] if text else []
    return [*head, *(turn.message for exchange in shares.recent for turn in exchange), *question]
