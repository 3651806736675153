"""A file that somebody asked for: whole or absent, theirs alone, and never over another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

from lab.errors import ConflictError, InputError


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """
    Yield where to write; that becomes `file` when the block ends well, and is gone otherwise.

    Raises
    ------
    ConflictError
        If there is such a file.
    InputError
        If it cannot be written.
    """
    if os.path.lexists(file):
        raise _taken(file)
    try:
        handle, name = mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            yield part
            _publish(part, file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{file} cannot be written ({error.strerror or error}); name a file in a folder that "
            "exists, is yours and has room."
        ) from error


def _publish(part: Path, file: Path) -> None:
    try:
        os.link(part, file)  # unlike a rename, it replaces nothing that came in the meantime
    except FileExistsError:
        raise _taken(file) from None
    except OSError:  # a file system without links, as on a stick
        part.rename(file)


def _taken(file: Path) -> ConflictError:
    return ConflictError(f"{file} exists; name another file, or remove this one.")
