"""`lab tools`: what the lab runs itself when a model calls it."""

import asyncio
from typing import Annotated

import typer

from lab.commands.client import open_client
from lab.commands.printing import notes, one_line, print_json, print_table
from lab.errors import InputError, nearest
from lab.schemas.offered_tool import OfferedTool

app = typer.Typer(
    help="The tools that models may call and the lab runs.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command(name="list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
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
    asyncio.run(_use(names or []))
    notes.print(f"Your conversations have these tools: {', '.join(names or []) or 'none'}.")


async def _list() -> list[OfferedTool]:
    async with open_client() as lab:
        return await lab.tools()


async def _use(names: list[str]) -> None:
    async with open_client() as lab:
        known = [tool.name for tool in await lab.tools()]
        for name in (name for name in names if name not in known):
            raise InputError(
                f"The lab has no tool `{name}`.{nearest(name, known)} "
                f"There are: {', '.join(known)}."
            )
        await lab.config.set("tools.enabled", names)
