"""`lab memories`: what the lab remembers, and how to correct it."""

import asyncio
from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import typer

from lab.commands.client import open_client
from lab.commands.printing import one_line, print_json, print_table
from lab.errors import InputError
from lab.schemas.conversation import Conversation
from lab.schemas.fact import Fact
from lab.schemas.fact_hit import FactHit
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.summary import Summary

app = typer.Typer(help="What the lab remembers of you.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most memories.")]
ConversationId = Annotated[UUID, typer.Argument(help="The chat.")]
MemoryId = Annotated[UUID, typer.Argument(help="As `lab memories list` shows it.")]


@app.command("list")
def list_(limit: Limit = 20, as_json: AsJson = False) -> None:
    """
    List the newest memories.

    Example: `lab memories list -n 50`
    """
    found = asyncio.run(_list(limit))
    if as_json:
        print_json([memory.model_dump(mode="json") for memory in found])
    else:
        _print(found)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, as you would ask for it.")],
    limit: Limit = 10,
    as_json: AsJson = False,
) -> None:
    """
    Show what bears on a question, best first: what a model would be given.

    Example: `lab memories search "What is my dog called?"`
    """
    hits = asyncio.run(_search(text, limit))
    if as_json:
        print_json([hit.model_dump(mode="json") for hit in hits])
    else:
        print_table(
            ["memory", "score", "said at", "who", "text"],
            [(hit.memory.id, f"{hit.score:.2f}", *_cells(hit.memory)) for hit in hits],
        )


@app.command()
def correct(
    memory_id: MemoryId,
    text: Annotated[str, typer.Argument(help="What shall be remembered instead.")],
) -> None:
    """
    Put another text in the place of a memory's; the message it came from stays as it was said.

    Example: `lab memories correct 0198f0c2-… "My dog is called Bo."`
    """
    _print([asyncio.run(_correct(memory_id, text))])


@app.command()
def summaries(
    conversation: ConversationId,
    level: Annotated[
        int | None, typer.Option(min=1, max=4, help="Only those of this level; 4 is the master.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """
    Show what stretches of a chat told, and what was made of them, the earliest first.

    Example: `lab memories summaries 0198f0c2-… --level 4`
    """
    found = asyncio.run(_summaries(conversation, limit, level))
    if as_json:
        print_json([summary.model_dump(mode="json") for summary in found])
    else:
        print_table(
            ["level", "messages", "text"],
            [(s.level, f"{s.first_position}-{s.last_position}", s.text) for s in found],
        )


@app.command()
def facts(
    query: Annotated[
        str | None, typer.Argument(help="What to look for; by default all, the last told first.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Also those that no longer hold.")
    ] = False,
    conversation: Annotated[
        UUID | None, typer.Option("--conversation", help="Only what this chat told.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most facts.")] = 20,
    as_json: AsJson = False,
) -> None:
    """
    Show what your chats told that holds, or what held before too.

    A fact follows the memories that it comes from, which `--json` names: correct or forget these.

    Examples: `lab memories facts` · `lab memories facts "Where did I live?" --history`
    """
    if query is None:
        found = asyncio.run(_facts(limit, conversation, history))
        columns, rows = [], [_interval(fact) for fact in found]
        shown = [fact.model_dump(mode="json") for fact in found]
    else:
        hits = asyncio.run(_fact_hits(query, limit, conversation, history))
        columns, rows = ["score"], [(f"{hit.score:.2f}", *_interval(hit.fact)) for hit in hits]
        shown = [hit.model_dump(mode="json") for hit in hits]
    if as_json:
        print_json(shown)
    else:
        print_table([*columns, "fact", "valid from", "until"], rows)


@app.command()
def share(conversation: ConversationId) -> None:
    """
    Let the questions of everybody in the lab find what is said in a chat; it stays closed to them.

    Others ask for it by the setting `memory.scope`. The operator has to let people share.

    Example: `lab memories share 0198f0c2-…`
    """
    _tell_shared(asyncio.run(_share(conversation, shared=True)))


@app.command()
def unshare(conversation: ConversationId) -> None:
    """
    Keep a chat to yourself again, at once.

    Example: `lab memories unshare 0198f0c2-…`
    """
    _tell_shared(asyncio.run(_share(conversation, shared=False)))


@app.command()
def delete(
    memory_id: Annotated[UUID | None, typer.Argument(help="The memory to forget.")] = None,
    conversation: Annotated[
        UUID | None, typer.Option("--conversation", help="Forget those of this chat.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget all there are.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """
    Forget one memory, those of a chat, or all; the messages they came from stay.

    Examples: `lab memories delete 0198f0c2-…` · `lab memories delete --all`
    """
    if (memory_id is not None) + (conversation is not None) + everything != 1:
        raise InputError(
            "Say what to forget: the id of one memory, `--conversation ID`, or `--all`."
        )
    if everything and not yes:
        typer.confirm("Forget all memories? This cannot be undone.", abort=True)
    asyncio.run(_delete(memory_id, conversation))


async def _list(limit: int) -> list[Memory]:
    async with open_client() as lab:
        return await lab.memories.list(limit)


async def _search(text: str, limit: int) -> list[MemoryHit]:
    async with open_client() as lab:
        return await lab.memories.search(text, limit)


async def _correct(memory_id: UUID, text: str) -> Memory:
    async with open_client() as lab:
        return await lab.memories.correct(memory_id, text)


async def _summaries(conversation: UUID, limit: int, level: int | None) -> list[Summary]:
    async with open_client() as lab:
        return await lab.conversations.summaries(conversation, limit, level)


async def _facts(limit: int, conversation: UUID | None, history: bool) -> list[Fact]:
    async with open_client() as lab:
        return await lab.facts.list(limit, conversation=conversation, history=history)


async def _fact_hits(
    query: str, limit: int, conversation: UUID | None, history: bool
) -> list[FactHit]:
    async with open_client() as lab:
        return await lab.facts.search(query, limit, conversation=conversation, history=history)


async def _share(conversation: UUID, *, shared: bool) -> Conversation:
    async with open_client() as lab:
        change = lab.conversations.share if shared else lab.conversations.unshare
        return await change(conversation)


async def _delete(memory_id: UUID | None, conversation: UUID | None) -> None:
    async with open_client() as lab:
        if memory_id is None:
            await lab.memories.delete_all(conversation)
        else:
            await lab.memories.delete(memory_id)


def _tell_shared(conversation: Conversation) -> None:
    state = "shared with everybody in the lab" if conversation.shared else "yours alone"
    typer.echo(f"{conversation.title}: {state}")


def _print(memories: Iterable[Memory]) -> None:
    print_table(
        ["memory", "said at", "who", "text"],
        [(memory.id, *_cells(memory)) for memory in memories],
    )


def _cells(memory: Memory) -> tuple[str, str, str]:
    return f"{memory.created_at:%F %T}", memory.name or memory.role.value, one_line(memory.text)


def _interval(fact: Fact) -> tuple[str | None, ...]:
    until = f"{fact.valid_until:%F %T}" if fact.valid_until else None
    return one_line(fact.text), f"{fact.valid_from:%F %T}", until
