"""Run one evaluation notebook in a child process and follow it."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import ServiceError
from lab.evals.metrics import read_metrics
from lab.evals.workplace import Workplace

OnProgress = Callable[[int, int], Awaitable[None]]

# What a kernel needs of our environment. Everything else stays out of it: the tokens of the hub
# and the password of the database are none of a notebook's business.
PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "HF_HOME",
    "OMP_NUM_THREADS", "JUPYTER_PATH", "MPLCONFIGDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """
    How an execution ended.

    Attributes
    ----------
    error : str or None
        Why it failed; None for a notebook that ran through.
    metrics : dict
        What the notebook recorded, up to where it came.
    """

    error: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


async def run_notebook(
    source: Path,
    workplace: Workplace,
    parameters: Mapping[str, object],
    *,
    cell_timeout_s: int,
    environment: Mapping[str, str],
    on_progress: OnProgress,
) -> Outcome:
    """
    Execute `source`; the executed copy is kept with its page beside it.

    Parameters
    ----------
    source : Path
        The notebook.
    workplace : Workplace
        Where the executed copy goes, and who executes.
    parameters : mapping
        Values for its parameters cell.
    cell_timeout_s : int
        Seconds that one cell may take.
    environment : mapping
        Variables of the kernel, beside the few that every program needs.
    on_progress : callable
        Called with cells done and cells in all, after each cell.

    Returns
    -------
    Outcome
        Judged by the exit status of the process. Cancelling this call ends the process.
    """
    with workplace.opened() as draft:

        async def keep_and_tell(done: int, total: int) -> None:
            workplace.keep(draft)
            await on_progress(done, total)

        command = (
            *(sys.executable, "-m", "lab.evals.execute", str(source), str(draft)),
            *("--parameters", json.dumps(dict(parameters)), "--cell-timeout", str(cell_timeout_s)),
        )
        process = await _start(command, workplace, draft, environment)
        try:
            said, complaint = await asyncio.gather(
                _follow(process, keep_and_tell), _read_all(process)
            )
            status = await process.wait()
        finally:
            await _end(process)
    if status and "error" not in said:
        raise ServiceError(
            f"The process that executes `{source.name}` ended with status {status}: "
            f"{_last_line(complaint) or 'it said nothing'}."
        )
    metrics = read_metrics(workplace.kept) if workplace.kept.exists() else {}
    return Outcome(str(said["error"]) if status else None, metrics)


async def _start(
    command: Sequence[str], workplace: Workplace, draft: Path, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    ours = {name: os.environ[name] for name in PASSED_ON if name in os.environ}  # noqa: TID251
    account = workplace.account
    return await asyncio.create_subprocess_exec(
        *(account.prefix() if account else ()),
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=draft.parent if account else None,  # it may not enter ours
        umask=0o077,
        env=ours | dict(environment) | workplace.environment(draft),
    )


async def _follow(process: asyncio.subprocess.Process, on_progress: OnProgress) -> dict[str, Any]:
    """Return the last thing that the process said."""
    assert process.stdout is not None  # a pipe, see above
    said: dict[str, Any] = {}
    async for line in process.stdout:
        said = json.loads(line)
        if "cells_done" in said:
            await on_progress(said["cells_done"], said["cells_total"])
    return said


async def _read_all(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None  # a pipe, see above
    return (await process.stderr.read()).decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that the process is gone; its kernel follows by itself."""
    if process.returncode is None:
        process.terminate()
        await process.wait()


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
