"""
What keeps the processes that use one embedded server apart: locks on two files of its folder.

lock    held by whoever starts or stops the server, meanwhile
users   shared by all who use the server, so the last one knows that it is the last; held alone by
        a supervisor, which starts and stops the server itself

The system lets go of both when a process is killed.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from lab.errors import DatabaseError

POLL_S = 0.05


class FileLock:
    """
    A lock on a file, which ends with the block or the process.

    Parameters
    ----------
    file : IO
        The open file; closed with the block.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def try_alone(self) -> bool:
        """Return whether we hold the lock alone now; asking gives up a shared one."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Return whether we hold the lock now, together with others."""
        return self._try(fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go."""
        self._file.close()

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def open_lock(folder: Path, name: str) -> FileLock:
    """Return the lock of that name, not held yet; raise `DatabaseError` where none can be made."""
    with writing(folder):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        return FileLock((folder / name).open("a"))


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[None]:
    """Keep other processes from starting and stopping the server of a folder."""
    with open_lock(folder, "lock") as lock:
        while not lock.try_alone():  # waiting inside could not be cancelled
            await asyncio.sleep(POLL_S)
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise `DatabaseError` with advice for what the system refuses in the block."""
    try:
        yield
    except OSError as error:
        raise DatabaseError(
            f"The data folder {folder} is not writable ({error.strerror}); make it writable or "
            "choose another one (LAB_DATA_FOLDER)."
        ) from error
