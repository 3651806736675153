"""Where the process of a notebook writes, and what is kept of that."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.db.os_account import OsAccount
from lab.supervisor.accounts import own_folder


@dataclass(frozen=True)
class Workplace:
    """
    What is kept of an execution, and who executes.

    Attributes
    ----------
    kept : Path
        The executed notebook, its page beside it; nobody but us may read them.
    account : OsAccount or None
        Who executes, in a folder and home that are gone afterwards; None for ourselves, in the
        folder of what is kept.
    """

    kept: Path
    account: OsAccount | None = None

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Yield where the process writes the executed notebook; at the end, keep it."""
        self.kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.account is None:
            yield self.kept
            return
        # What its kernel still writes while it ends may come after us.
        with TemporaryDirectory(prefix="lab-eval-", ignore_cleanup_errors=True) as folder:
            # Ours, so that the account cannot put another home in place of its own.
            Path(folder).chmod(0o711)
            draft = own_folder(Path(folder, "home"), self.account) / self.kept.name
            try:
                yield draft
            finally:
                self.keep(draft)

    def keep(self, draft: Path) -> None:
        """Copy the notebook, unless it is half written, and the page as they are so far."""
        if self.account is None:
            return
        if (notebook := _content(draft, self.account)) and _is_json(notebook):
            _write(self.kept, notebook)
        if page := _content(draft.with_suffix(".html"), self.account):
            _write(self.kept.with_suffix(".html"), page)

    def environment(self, draft: Path) -> dict[str, str]:
        """Return the variables that make the process at home where it writes."""
        return {"HOME": str(draft.parent)} if self.account else {}


def _content(file: Path, account: OsAccount) -> bytes | None:
    """Return what a file of the account's holds: in its folder a link may lead anywhere."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # not there yet, or no file
        return None
    with open(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != account.uid:
            return None
        return opened.read()


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _write(file: Path, content: bytes) -> None:
    """Replace a file at once, for whoever is reading it."""
    new = file.with_name(f".{file.name}")
    new.touch(mode=0o600)
    new.write_bytes(content)
    new.replace(file)
