"""A folder that somebody asked for: whole or absent, and never over another."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from lab.errors import ConflictError, InputError
from lab.units import sized

OPEN_MODE = 0o755
"""What other accounts may read, as that of the lab."""


@contextmanager
def new_folder(folder: Path, n_bytes: int) -> Iterator[Path]:
    """
    Yield where to write; that becomes `folder` when the block ends well, and is gone otherwise.

    Parameters
    ----------
    folder : Path
        What is asked for.
    n_bytes : int
        About what it will hold.

    Raises
    ------
    ConflictError
        If there is something of that name.
    InputError
        If it cannot be written, or the disk has no room.
    """
    folder = folder.absolute()
    if os.path.lexists(folder):
        raise ConflictError(f"{folder} exists; name another folder, or remove this one.")
    if not folder.parent.is_dir():
        raise InputError(f"There is no folder {folder.parent}; make it, or name another.")
    if (free := shutil.disk_usage(folder.parent).free) < n_bytes:
        raise InputError(
            f"{folder} would take {sized(n_bytes)}, and its disk has {sized(free)} free; free "
            "some, or name a folder on another disk."
        )
    try:
        part = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        try:
            yield part
            part.chmod(OPEN_MODE)
            part.rename(folder)  # fails where a folder with files came in the meantime
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); name a folder beside which "
            "you may write, on a disk with room."
        ) from error
