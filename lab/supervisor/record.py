"""What a running lab writes down: for commands, for programs, and for the next start."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lab.errors import ConflictError, ServiceError

FOLDER = "run"
SUPERVISOR = "supervisor"
"""Name of the record of `lab up`."""
SERVE = "serve"
"""Name of the record of `lab serve`, which supervises nothing."""


@dataclass(frozen=True)
class ProcessRecord:
    """One process, as the supervisor last saw it."""

    name: str
    state: str
    pid: int | None
    port: int
    started_at: float
    restarts: int


@dataclass(frozen=True)
class StackRecord:
    """A running lab: the process that wrote this, and those that it supervises."""

    pid: int
    started_at: float
    url: str
    ready: bool
    processes: tuple[ProcessRecord, ...]

    def supervisor(self) -> psutil.Process | None:
        """Return the process that wrote this, if it lives; a pid alone may be another's."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1
            lives = same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if lives else None

    def wait_for_end(self, timeout_s: float) -> bool:
        """Return whether the supervisor ended in time."""
        deadline = time.monotonic() + timeout_s
        while self.supervisor() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def write_record(data_folder: Path, record: StackRecord, name: str = SUPERVISOR) -> None:
    """Replace the record of this data folder."""
    file = _file(data_folder, name)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(record), indent=2))
    draft.replace(file)


def read_record(data_folder: Path, name: str = SUPERVISOR) -> StackRecord | None:
    """
    Return the record of this data folder, or None when the lab never ran or was stopped.

    Raises
    ------
    ServiceError
        If it cannot be read.
    """
    file = _file(data_folder, name)
    try:
        data = json.loads(file.read_text())
        processes = tuple(ProcessRecord(**process) for process in data.pop("processes"))
        return StackRecord(**data, processes=processes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ServiceError(
            f"The record of the running lab `{file}` cannot be read ({error}); run as the account "
            "that started the lab, or delete the file when it does not run."
        ) from error


def living_record(data_folder: Path, name: str = SUPERVISOR) -> StackRecord | None:
    """Return the record of this data folder, or None when who wrote it is gone."""
    record = read_record(data_folder, name)
    return record if record and record.supervisor() else None


def forget_record(data_folder: Path, name: str = SUPERVISOR) -> None:
    """Delete the record: nothing of this lab runs."""
    _file(data_folder, name).unlink(missing_ok=True)


@contextmanager
def recorded_serving(data_folder: Path, url: str) -> Iterator[None]:
    """Let commands and programs find the API that this process serves."""
    started_at = psutil.Process().create_time()
    ours = StackRecord(os.getpid(), started_at, url, ready=True, processes=())
    _file(data_folder, SERVE).parent.mkdir(mode=0o755, exist_ok=True)
    write_record(data_folder, ours, SERVE)
    try:
        yield
    finally:
        if read_record(data_folder, SERVE) == ours:  # another port may be served as well
            forget_record(data_folder, SERVE)


@contextmanager
def only_one(data_folder: Path) -> Iterator[None]:
    """
    Hold this data folder for one supervisor; the system lets go of it when the process ends.

    Raises
    ------
    ConflictError
        If another supervisor holds it.
    """
    file = data_folder / FOLDER / "lock"
    file.parent.mkdir(mode=0o755, exist_ok=True)
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(_already_runs(data_folder)) from None
        yield


def _already_runs(data_folder: Path) -> str:
    record = read_record(data_folder)
    where = f" at {record.url} (process {record.pid})" if record else ""
    return (
        f"The lab of {data_folder} runs already{where}; stop it with `lab down`, or set "
        "LAB_DATA_FOLDER and the ports (LAB_SERVER_PORT, …) to start another one."
    )


def _file(data_folder: Path, name: str) -> Path:
    return data_folder / FOLDER / f"{name}.json"
