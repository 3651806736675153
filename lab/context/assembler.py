"""
Build the window of one answer, and the receipt that says why it looks so.

The system prompt and the question always stand in the window; `lab.context.sharing` shares out
what is left. Exchanges go in whole, so a tool call is never parted from its result.
"""

from collections.abc import Sequence

from lab.context.costs import Costs, CountText, CountTokens
from lab.context.pieces import Budget, Candidate, Source, exchanges_of
from lab.context.receipts import receipt_items
from lab.context.sharing import Shares, share_out
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
    count_text: CountText,
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
        What bears on the question, in the order in which it stands in the system message, and the
        summaries of this conversation, if any.
    question : sequence of ChatMessage
        What the model shall answer.
    budget : Budget
        Tokens to share out.
    count : callable
        Tokens of a list of messages under the model's chat template, tools included.
    count_text : callable
        Tokens of a text alone.

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
    costs = Costs(count, count_text)
    exchanges = exchanges_of(history)
    shares = share_out(exchanges, sources, costs, budget.prompt_tokens - n_base)
    messages = _messages(system, shares, question)
    while (n_tokens := count(messages)) > budget.prompt_tokens:
        shares = shares.smaller()
        messages = _messages(system, shares, question)
    receipt = Receipt(
        model=model,
        context_length=budget.context_length,
        answer_tokens=budget.answer_tokens,
        n_tokens=n_tokens,
        items=receipt_items(system, exchanges, shares, question, costs),
    )
    return Window(messages=messages, receipt=receipt)


def _messages(
    system: str | None, shares: Shares, question: Sequence[ChatMessage]
) -> list[ChatMessage]:
    text = system + shares.blocks if system else shares.blocks.lstrip("\n")
    head = [ChatMessage(role=Role.system, content=text)] if text else []
    return [*head, *(turn.message for exchange in shares.recent for turn in exchange), *question]
