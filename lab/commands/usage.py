"""`lab usage`: what models were used for."""

import asyncio
from typing import Annotated

import typer

from lab.commands.client import open_client
from lab.commands.printing import print_json, print_table
from lab.schemas.usage_day import UsageDay

app = typer.Typer(add_completion=False)


@app.command()
def usage(
    days: Annotated[
        int, typer.Option("--days", "-n", min=1, max=3660, help="Today and the days before it.")
    ] = 30,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Of all users; needs an administrator's token.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show what models were used for, by day.

    Counts finished answers and titles; days are those of UTC.

    Examples: `lab usage` · `lab usage --days 7 --everybody --json`
    """
    found = asyncio.run(_usage(days, everybody))
    if as_json:
        print_json([day.model_dump(mode="json") for day in found])
        return
    columns = ["day", "user", "model", "answers", "prompt tokens", "new tokens", "seconds"]
    rows = [u.model_copy(update={"seconds": round(u.seconds, 1)}) for u in found]
    print_table(columns, [[*u.model_dump().values()] for u in rows])


async def _usage(days: int, everybody: bool) -> list[UsageDay]:
    async with open_client() as lab:
        return await lab.usage(days, everybody=everybody)
