"""`lab up`, `down`, `status` and `logs`: the whole lab on this machine."""

import asyncio
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler
from rich.panel import Panel

from lab.commands.printing import notes, print_json, print_table
from lab.config import Settings, load_settings
from lab.db import embedded_server
from lab.db.cache_store import describe
from lab.errors import LabError, NotFoundError, ServiceError
from lab.supervisor.detached import FORMAT, NAME, start_detached
from lab.supervisor.logs import follow, last_lines, log_file, turn_over
from lab.supervisor.orphans import clear_marked
from lab.supervisor.record import SERVE, forget_record, living_record, only_one, read_record
from lab.supervisor.stack import Welcome, run_stack

STOP_TIMEOUT_S = 120.0

app = typer.Typer(add_completion=False)


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready, and let it run.")
    ] = False,
) -> None:
    """
    Start the whole lab.

    Database, API, dashboards, hub and scheduler, each when the one before is ready. Ctrl-C stops
    all of them. The first start creates the administrator and shows the password once.

    Examples: `lab up` · `lab up --detach` · `LAB_SERVER_PORT=9000 lab up`
    """
    settings = load_settings()
    if detach:
        _greet(start_detached(settings, lambda line: notes.print(f"[dim]{line}")))
        notes.print("It runs in the background: `lab status`, `lab logs`, `lab down`.")
        return
    log = log_file(settings.data_folder, NAME)
    turn_over(log)
    _log_to(log)
    asyncio.run(run_stack(settings, _greet))


@app.command()
def down() -> None:
    """
    Stop the lab of this data folder.

    Running answers get time to finish. Also ends what a killed lab left behind.

    Example: `lab down`
    """
    settings = load_settings()
    folder = settings.data_folder
    record = read_record(folder)
    supervisor = record.supervisor() if record else None
    if record and supervisor:
        supervisor.terminate()
        if not record.wait_for_end(STOP_TIMEOUT_S):
            raise ServiceError(
                f"The lab (process {record.pid}) did not stop in {STOP_TIMEOUT_S:g} s; "
                f"see {log_file(folder, NAME)}."
            )
        notes.print("The lab has stopped.")
        return
    with only_one(folder):
        cleared = clear_marked(folder)
        forget_record(folder)
        if settings.config.database.url is None:
            cleared += asyncio.run(embedded_server(settings).stop_unused())
    if cleared:
        notes.print(f"Ended {cleared} process{'es' if cleared > 1 else ''} left behind.")
    else:
        notes.print(f"The lab does not run. {_serving(folder)}".rstrip())


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show the processes of the lab, and where its cache is.

    The exit code is 0 when all are ready, else 1; without its Redis the lab works on.

    Examples: `lab status` · `lab status --json`
    """
    settings = load_settings()
    folder = settings.data_folder
    record = read_record(folder)
    if record is None or record.supervisor() is None:
        if as_json:
            print_json({"running": False})
        else:
            lost = record is not None
            hint = " Its supervisor was killed; `lab down` clears up." if lost else ""
            notes.print(f"The lab of {folder} does not run.{hint} Start it with `lab up`.")
            if serving := _serving(folder):
                notes.print(serving)
        raise typer.Exit(1)
    if as_json:
        print_json({"running": True, **asdict(record), "cache": _cache(settings)})
    else:
        notes.print(f"{record.url} (supervisor: process {record.pid})")
        now = time.time()
        print_table(
            ["process", "state", "pid", "port", "up", "restarts"],
            [
                (p.name, p.state, p.pid, p.port, _duration(now - p.started_at), p.restarts)
                for p in record.processes
            ],
        )
        notes.print(f"cache: {_cache(settings)}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if record.ready else 1)


@app.command()
def logs(
    name: Annotated[
        str | None, typer.Argument(help="A process, as `lab status` names it; all by default.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines.")] = 20,
    follow_it: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")
    ] = False,
) -> None:
    """
    Show what the lab's processes wrote.

    Examples: `lab logs` · `lab logs hub -n 100` · `lab logs api -f`
    """
    folder = load_settings().data_folder
    files = {f.stem: f for f in sorted(log_file(folder, "any").parent.glob("*.log"))}
    if name is not None and name not in files:
        known = ", ".join(files) or "none"
        raise NotFoundError(f"log (there are: {known})", name)
    chosen = {name: files[name]} if name else files
    for title, file in chosen.items():
        if name is None:
            notes.print(f"[bold]{title}[/] [dim]{file}")
        for line in last_lines(file, lines):
            typer.echo(line)
    if follow_it:
        for line in follow(list(chosen.values())):
            typer.echo(line)


def _serving(folder: Path) -> str:
    """Return where the API is served alone, in words; nothing when it is not."""
    serve = living_record(folder, SERVE)
    return f"`lab serve` runs at {serve.url} (process {serve.pid})." if serve else ""


def _cache(settings: Settings) -> str:
    """Return where the cache is, or what is wrong with it, in words."""
    try:
        return describe(settings.config.cache)
    except LabError as error:
        return str(error)


def _greet(welcome: Welcome) -> None:
    lines = [f"The lab is ready: [bold]{welcome.url}[/]", f"Log in as [bold]{welcome.admin}[/]"]
    if welcome.password:
        lines[1] += f" with the password [bold]{welcome.password}[/]"
        lines.append("The password is shown this once; `lab users passwd` makes a new one.")
    notes.print(Panel("\n".join(lines), expand=False))


def _log_to(log: object) -> None:
    """Write what the supervisor says to its log and to the terminal."""
    terminal = RichHandler(console=notes, show_path=False, show_level=False)
    terminal.addFilter(logging.Filter("lab.supervisor"))
    to_file = logging.FileHandler(str(log))
    to_file.setFormatter(logging.Formatter(FORMAT))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[terminal, to_file])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
