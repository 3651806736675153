"""`lab eval`: evaluations, their runs and their schedules."""

import asyncio
import json
from typing import Annotated, Any
from uuid import UUID

import typer

from lab.client import Lab
from lab.commands.client import open_client
from lab.commands.printing import notes, print_json, print_table
from lab.config import load_settings
from lab.errors import InputError, ServiceError
from lab.evals.metrics import shown_metrics
from lab.schemas.eval_run import EvalRun
from lab.schemas.evaluation import Evaluation
from lab.schemas.run_status import RunStatus
from lab.schemas.schedule import Schedule

POLL_S = 0.5
METRICS_LISTED = 2
GOING = frozenset({RunStatus.queued, RunStatus.running})

app = typer.Typer(
    help="Evaluations and their schedules.", no_args_is_help=True, add_completion=False
)
schedule = typer.Typer(help="Evaluations by the clock.", no_args_is_help=True)
app.add_typer(schedule, name="schedule")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Values = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE of the notebook.")
]


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="As `lab eval list` names it.")],
    parameter: Values = None,
    as_json: AsJson = False,
) -> None:
    """
    Run an evaluation and wait for its result.

    Example: `lab eval run long_memory -p n_facts=5`
    """
    done = asyncio.run(_run(name, _parse(parameter)))
    _show(done, as_json)
    if done.status is not RunStatus.completed:
        raise ServiceError(f"The run {done.id} {done.status.value}: {done.error or 'no reason'}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """
    List the evaluations there are, and the runs so far.

    Example: `lab eval list`
    """
    evaluations, runs = asyncio.run(_list())
    if as_json:
        print_json(
            {
                "evaluations": [e.model_dump(mode="json") for e in evaluations],
                "runs": [r.model_dump(mode="json") for r in runs],
            }
        )
        return
    print_table(
        ["evaluation", "what it answers", "parameters"],
        [(e.name, e.question or e.title, _names(e)) for e in evaluations],
    )
    typer.echo()
    print_table(
        ["run", "evaluation", "status", "asked at", "metrics"],
        [(r.id, r.name, r.status, f"{r.created_at:%F %T}", _metrics(r)) for r in runs],
    )


@app.command()
def show(
    run_id: Annotated[UUID, typer.Argument(help="As `lab eval list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """
    Show a run: how far it is, what it measured, and its executed notebook.

    Example: `lab eval show 0198f0c2-…`
    """
    _show(asyncio.run(_get(run_id)), as_json)


@schedule.command()
def add(
    name: Annotated[str, typer.Argument(help="Of the schedule.")],
    cron: Annotated[str, typer.Argument(help="Five fields, in UTC, e.g. `0 3 * * *`.")],
    evaluation: Annotated[str, typer.Argument(help="As `lab eval list` names it.")],
    parameter: Values = None,
) -> None:
    """
    Run an evaluation by the clock.

    Example: `lab eval schedule add nightly "0 3 * * *" long_memory`
    """
    made = asyncio.run(_schedule(name, cron, evaluation, _parse(parameter)))
    due = made.next_run_at or "its time"
    if made.warning:
        notes.print(f"`{made.name}` is kept and due at {due}. {made.warning}", soft_wrap=True)
    else:
        notes.print(f"`{made.name}` runs next at {due}.")
    typer.echo(made.id)


@schedule.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """
    List the schedules.

    Example: `lab eval schedule list`
    """
    schedules = asyncio.run(_schedules())
    if as_json:
        print_json([s.model_dump(mode="json") for s in schedules])
        return
    print_table(
        ["id", "name", "cron", "evaluation", "last", "next"],
        [
            (s.id, s.name, s.cron, s.evaluation, s.last_run_at, s.next_run_at if s.enabled else "–")
            for s in schedules
        ],
    )
    for warning in sorted({s.warning for s in schedules if s.warning}):
        notes.print(warning, soft_wrap=True)


@schedule.command()
def remove(
    schedule_id: Annotated[UUID, typer.Argument(help="As `lab eval schedule list` shows it.")],
) -> None:
    """
    Delete a schedule; the runs it started stay.

    Example: `lab eval schedule remove 0198f0c2-…`
    """
    asyncio.run(_remove(schedule_id))
    notes.print("The schedule is deleted.")


async def _run(name: str, parameters: dict[str, Any]) -> EvalRun:
    async with open_client() as lab:
        return await _until_ended(lab, await lab.evals.run(name, **parameters))


async def _until_ended(lab: Lab, run: EvalRun) -> EvalRun:
    """Follow a run; Ctrl-C stops it."""
    try:
        while run.status in GOING:
            with notes.status(f"{run.status.value}: {run.cells_done} of {run.cells_total} cells"):
                await asyncio.sleep(POLL_S)
            run = await lab.evals.get(run.id)
    except asyncio.CancelledError:
        await lab.evals.cancel(run.id)
        raise
    return run


async def _list() -> tuple[list[Evaluation], list[EvalRun]]:
    async with open_client() as lab:
        return await lab.evals.list(), await lab.evals.runs()


async def _get(run_id: UUID) -> EvalRun:
    async with open_client() as lab:
        return await lab.evals.get(run_id)


async def _schedule(name: str, cron: str, evaluation: str, parameters: dict[str, Any]) -> Schedule:
    async with open_client() as lab:
        return await lab.schedules.create(name, cron, evaluation, **parameters)


async def _schedules() -> list[Schedule]:
    async with open_client() as lab:
        return await lab.schedules.list()


async def _remove(schedule_id: UUID) -> None:
    async with open_client() as lab:
        await lab.schedules.delete(schedule_id)


def _parse(given: list[str] | None) -> dict[str, Any]:
    """Return `NAME=VALUE` pairs with values as JSON, or as text where they are none."""
    parameters: dict[str, Any] = {}
    for pair in given or []:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InputError(f"`{pair}` is no parameter; write NAME=VALUE, e.g. `-p n_facts=5`.")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return parameters


def _show(run: EvalRun, as_json: bool) -> None:
    if as_json:
        print_json(run.model_dump(mode="json"))
        return
    executed = run.executed_notebook and load_settings().data_folder / run.executed_notebook
    facts = {
        "run": run.id,
        "evaluation": run.name,
        "status": run.status,
        "cells": f"{run.cells_done} of {run.cells_total}",
        "parameters": json.dumps(run.parameters),
        "notebook": executed,
        "error": run.error,
        **shown_metrics(run.metrics),
    }
    print_table(["what", "value"], [(k, v) for k, v in facts.items() if v is not None])


def _metrics(run: EvalRun) -> str:
    """Return the first metrics of a run, and how many more there are."""
    metrics = shown_metrics(run.metrics)
    first = [f"{name} {value}" for name, value in list(metrics.items())[:METRICS_LISTED]]
    n_more = len(metrics) - len(first)
    return ", ".join([*first, f"{n_more} more"] if n_more else first)


def _names(evaluation: Evaluation) -> str:
    return ", ".join(parameter.name for parameter in evaluation.parameters)
