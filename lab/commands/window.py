"""`lab window`: what a model would see before it answers."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from lab.commands.client import open_client
from lab.commands.printing import one_line, print_json, print_table
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.window import Window

app = typer.Typer(add_completion=False)


@app.command()
def window(
    text: Annotated[str, typer.Argument(help="What you would ask.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="As `lab models list` names it.")
    ] = None,
    conversation: Annotated[
        UUID | None, typer.Option("--conversation", help="Where; by default in a new one.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="Size of the window; by default the model's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show what a model would see before it answers, and why.

    Nothing is answered, and nothing stored.

    Examples: `lab window "What is my dog called?"` · `lab window --tokens 4096 "Where do I live?"`
    """
    found = asyncio.run(_window(text, model, conversation, tokens))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    receipt = found.receipt
    print_table(
        ["in", "kind", "tokens", "score", "who", "text", "why"],
        [
            (
                "yes" if item.included else "no",
                item.kind.value,
                item.n_tokens,
                None if item.score is None else f"{item.score:.2f}",
                _who(item),
                one_line(item.text),
                item.reason,
            )
            for item in receipt.items
        ],
    )
    typer.echo(
        f"{receipt.n_tokens:,} of {receipt.context_length:,} tokens of {receipt.model}'s window, "
        f"{receipt.answer_tokens:,} kept for the answer"
    )


def _who(item: ReceiptItem) -> str | None:
    role = item.role.value if item.role else None
    return f"{item.shared_by} ({role})" if item.shared_by else role


async def _window(
    text: str, model: str | None, conversation: UUID | None, tokens: int | None
) -> Window:
    # A new conversation has the memories of all others; a question without one has none.
    memory = True if conversation is None else None
    async with open_client() as lab:
        return await lab.window(
            text, model=model, conversation=conversation, memory=memory, context_length=tokens
        )
