"""`lab tools`: what the lab runs when a model calls it, and tools that are written for one."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lab.commands.client import open_client
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.errors import CodeError, InputError, nearest
from lab.schemas.dynamic_tool import DynamicTool
from lab.schemas.dynamic_tool_origin import DynamicToolOrigin
from lab.schemas.dynamic_tool_proposal import DynamicToolProposal
from lab.schemas.offered_tool import OfferedTool
from lab.schemas.sandbox_end import SandboxEnd
from lab.schemas.sandbox_result import SandboxResult

app = typer.Typer(
    help="The tools that models may call and the lab runs.",
    no_args_is_help=True,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="As `lab tools own` shows it.")]
Code = Annotated[
    typer.FileText, typer.Option("--code", "-c", help="File with the source; `-` for the input.")
]
Description = Annotated[
    str | None, typer.Option(help="What it does; by default the function's docstring.")
]


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """
    List the tools, and which of them your conversations have.

    Example: `lab tools list`
    """
    found = asyncio.run(_list())
    if as_json:
        print_json([tool.model_dump(mode="json") for tool in found])
        return
    print_table(
        ["tool", "on", "what it does", "arguments"],
        [
            (
                tool.name,
                "yes" if tool.enabled else "no",
                one_line(tool.description),
                ", ".join(tool.parameters.get("properties", {})),
            )
            for tool in found
        ],
    )


@app.command()
def use(
    names: Annotated[
        list[str] | None, typer.Argument(help="As `lab tools list` names them; none for none.")
    ] = None,
) -> None:
    """
    Let your conversations have these tools from now on, and no others.

    Examples: `lab tools use calculator current_time` · `lab tools use`
    """
    asyncio.run(_choose("enabled", names or []))
    notes.print(f"Your conversations have these tools: {', '.join(names or []) or 'none'}.")


@app.command()
def ask(
    names: Annotated[
        list[str] | None, typer.Argument(help="As `lab tools list` names them; none for none.")
    ] = None,
) -> None:
    """
    Let calls of these tools wait until you allow them, and of no others.

    Examples: `lab tools ask run_python read_page` · `lab tools ask`
    """
    asyncio.run(_choose("ask", names or []))
    notes.print(f"These tools wait until you allow a call: {', '.join(names or []) or 'none'}.")


@app.command()
def own(as_json: AsJson = False) -> None:
    """
    List the tools that were written for you.

    Example: `lab tools own`
    """
    found = asyncio.run(_own())
    if as_json:
        print_json([tool.model_dump(mode="json") for tool in found])
        return
    print_table(
        ["name", "version", "runs", "what it does"],
        [(t.name, t.version, _state(t), one_line(t.description)) for t in found],
    )


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """
    Show a tool with its code, which you read before you approve it.

    Example: `lab tools show word_count`
    """
    tool = asyncio.run(_get(name))
    if as_json:
        print_json(tool.model_dump(mode="json"))
    else:
        _print(tool)


@app.command()
def write(
    wish: Annotated[str, typer.Argument(help="What it shall do, and with which arguments.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Who writes it.")] = None,
) -> None:
    """
    Find the tool that does what you want, or let a model write one.

    Example: `lab tools write "Count the words of a text."`
    """
    proposal = asyncio.run(_propose(wish, model))
    _print(proposal.tool)
    _tell_origin(proposal)
    _tell_waiting(proposal.tool)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The function of that name is the tool.")],
    code: Code,
    description: Description = None,
) -> None:
    """
    Keep a tool that you wrote; its arguments are those of the function.

    Example: `lab tools add word_count --code word_count.py`
    """
    _tell_waiting(asyncio.run(_add(name, code.read(), description)))


@app.command("set")
def set_(name: Name, code: Code, description: Description = None) -> None:
    """
    Write a tool anew; it waits for approval again.

    Example: `lab tools set word_count --code word_count.py`
    """
    _tell_waiting(asyncio.run(_set(name, code.read(), description)))


@app.command()
def approve(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="The version that you read.")],
) -> None:
    """
    Let the version of a tool run that you read.

    Example: `lab tools approve word_count 1`
    """
    asyncio.run(_approve(name, version))
    notes.print(f"Version {version} of `{name}` may run.")


@app.command()
def run(
    name: Name,
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", "-a", help="E.g. `text=Hello`; several may be given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Call a tool in the sandbox, and print what it returns.

    Example: `lab tools run word_count -a text="One two."`
    """
    result = asyncio.run(_run(name, _arguments(argument or [])))
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    if result.stdout:
        notes.print(result.stdout.rstrip(), markup=False)
    if result.ended is not SandboxEnd.done:
        raise CodeError(f"`{name}` failed: {result.error}")
    typer.echo(json.dumps(result.value, indent=2, ensure_ascii=False))


@app.command()
def remove(name: Name) -> None:
    """
    Delete a tool.

    Example: `lab tools remove word_count`
    """
    asyncio.run(_remove(name))
    notes.print(f"The tool `{name}` is deleted.")


def _arguments(given: Sequence[str]) -> dict[str, Any]:
    """Return arguments that were given as `NAME=VALUE`: JSON, or else a text."""
    values: dict[str, Any] = {}
    for one in given:
        name, sign, text = one.partition("=")
        if not sign or not name:
            raise InputError(f"`{one}` is no argument; write it as `text=Hello`.")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values


def _state(tool: DynamicTool) -> str:
    return "yes" if tool.approved_at else "waits for approval"


def _print(tool: DynamicTool) -> None:
    for key in ("name", "version", "description"):
        typer.echo(f"{key}: {getattr(tool, key)}")
    typer.echo(f"runs: {_state(tool)}")
    typer.echo(f"parameters: {json.dumps(tool.parameters, ensure_ascii=False)}")
    typer.echo(f"\n{tool.code.rstrip()}")


def _tell_origin(proposal: DynamicToolProposal) -> None:
    near = f"`{proposal.nearest}` (similarity {proposal.similarity or 0:.2f})"
    match proposal.origin:
        case DynamicToolOrigin.reused:
            notes.print(f"You have that tool: {near}.")
        case DynamicToolOrigin.modified:
            notes.print(f"It was written from {near}, which stays as it is.")
        case DynamicToolOrigin.written:
            notes.print("It was newly written.")


def _tell_waiting(tool: DynamicTool) -> None:
    if tool.approved_at is None:
        notes.print(
            f"`{tool.name}` waits for approval: `lab tools approve {tool.name} {tool.version}`."
        )


async def _list() -> list[OfferedTool]:
    async with open_client() as lab:
        return await lab.tools.list()


async def _choose(setting: str, names: list[str]) -> None:
    async with open_client() as lab:
        known = [tool.name for tool in await lab.tools.list()]
        for name in (name for name in names if name not in known):
            raise InputError(
                f"The lab has no tool `{name}`.{nearest(name, known)} "
                f"There are: {', '.join(known)}."
            )
        await lab.config.set(f"tools.{setting}", names)


async def _own() -> list[DynamicTool]:
    async with open_client() as lab:
        return await lab.tools.own()


async def _get(name: str) -> DynamicTool:
    async with open_client() as lab:
        return await lab.tools.get(name)


async def _propose(wish: str, model: str | None) -> DynamicToolProposal:
    async with open_client() as lab:
        return await lab.tools.propose(wish, model=model)


async def _add(name: str, code: str, description: str | None) -> DynamicTool:
    async with open_client() as lab:
        return await lab.tools.add(name, code, description=description)


async def _set(name: str, code: str, description: str | None) -> DynamicTool:
    async with open_client() as lab:
        return await lab.tools.set(name, code, description=description)


async def _approve(name: str, version: int) -> None:
    async with open_client() as lab:
        await lab.tools.approve(name, version)


async def _run(name: str, arguments: dict[str, Any]) -> SandboxResult:
    async with open_client() as lab:
        return await lab.tools.run(name, **arguments)


async def _remove(name: str) -> None:
    async with open_client() as lab:
        await lab.tools.remove(name)
