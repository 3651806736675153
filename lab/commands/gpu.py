"""`lab gpu`: who holds which memory of the devices, and why."""

import asyncio
from typing import Annotated

import typer

from lab.commands.client import open_client
from lab.commands.printing import notes, print_json, print_table
from lab.schemas.residency import Residency
from lab.schemas.resident import Resident
from lab.units import sized

SHOWN_DECISIONS = 10

app = typer.Typer(add_completion=False)


@app.command()
def gpu(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show who holds which memory of the devices, and why.

    Devices are GPUs, or the CPU where there is none.

    Example: `lab gpu`
    """
    found = asyncio.run(_residency())
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    if not found.models:
        notes.print("No model is in memory; each is loaded when it is first asked for.")
    else:
        _print(found)
    if found.decisions:
        notes.print("\nThe last decisions, newest first:")
        for one in found.decisions[:SHOWN_DECISIONS]:
            line = f"{one.at.astimezone():%H:%M:%S} {one.model} {one.kind}: {one.reason}"
            notes.print(line, soft_wrap=True)


def _print(found: Residency) -> None:
    print_table(
        ["device", "taken", "room", "free there", "may be taken"],
        [
            (
                one.device,
                sized(one.taken_bytes),
                sized(one.room_bytes),
                sized(one.free_bytes),
                "what is free" if one.budget_bytes is None else sized(one.budget_bytes),
            )
            for one in found.devices
        ],
    )
    typer.echo()
    print_table(
        [
            *("model", "device", "form", "state", "foretold", "used", "weights", "taken"),
            *("priority", "in use"),
        ],
        [
            (
                one.model,
                ", ".join([one.device, *one.beside]),
                one.form,
                one.state,
                sized(one.foretold_bytes),
                sized(one.used_bytes),
                "unknown" if one.weight_bytes is None else sized(one.weight_bytes),
                sized(one.taken_bytes),
                "pinned" if one.pinned else one.priority,
                _use(one),
            )
            for one in found.models
        ],
    )


def _use(one: Resident) -> str:
    """Return what a model is used for, or since when it is not."""
    purposes = [lease.purpose for lease in one.leases]
    if purposes:
        counted = (f"{purposes.count(p)} {p}" for p in dict.fromkeys(purposes))
        return ", ".join(counted)
    return f"no, for {one.idle_s:.0f} s"


async def _residency() -> Residency:
    async with open_client() as lab:
        return await lab.residents.report()
