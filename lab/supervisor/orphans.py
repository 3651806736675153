"""
Processes of the lab that nobody watches any more.

Every process that the supervisor starts carries a variable that names the data folder, and so do
all its descendants: notebook servers, kernels, evaluations. Names and process ids can be another's
by now; this mark cannot.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from lab.errors import ServiceError

MARK = "LLM_ML_LAB_DATA_FOLDER"
GRACE_S = 10.0


def mark(data_folder: Path) -> dict[str, str]:
    """Return the variable that marks a process as one of this data folder's lab."""
    return {MARK: str(data_folder)}


def marked(data_folder: Path) -> list[psutil.Process]:
    """Return the living processes that carry the mark of this data folder."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _carries(p, data_folder)]


def clear_marked(data_folder: Path, grace_s: float = GRACE_S) -> int:
    """
    End every process that carries the mark, and return how many there were.

    Raises
    ------
    ServiceError
        If one survives.
    """
    found = marked(data_folder)
    left = _end(found, psutil.Process.terminate, grace_s)
    # One that was starting another while we looked may have left it behind: look again.
    left = _end({*left, *marked(data_folder)}, psutil.Process.kill, GRACE_S)
    if left:
        raise ServiceError(
            f"These processes of an earlier run do not end: {', '.join(str(p.pid) for p in left)}; "
            "end them by hand."
        )
    return len(found)


def _end(
    processes: list[psutil.Process] | set[psutil.Process],
    signal: Callable[[psutil.Process], None],
    grace_s: float,
) -> list[psutil.Process]:
    """Signal the processes and return those that live on after the grace time."""
    left = []
    for process in processes:
        try:
            signal(process)
        except psutil.NoSuchProcess:
            continue
        left.append(process)
    deadline = time.monotonic() + grace_s
    while (left := [p for p in left if _lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _carries(process: psutil.Process, data_folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(data_folder) and _lives(process)
    except psutil.Error:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
