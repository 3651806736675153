"""The OS account that runs what must not run as root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.errors import DatabaseError


@dataclass(frozen=True)
class OsAccount:
    """An unprivileged account that root may run programs as."""

    name: str
    uid: int
    gid: int

    def prefix(self) -> list[str]:
        """Return the words that make a command run as this account, in the same process."""
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]

    def blocked_at(self, path: Path) -> Path | None:
        """Return the first folder on the way to `path` that the account may not enter."""
        return next((p for p in reversed([path, *path.parents]) if not self._may("-x", p)), None)

    def kept_from(self, file: Path) -> Path | None:
        """Return what the account may not pass on the way to reading `file`: a folder or itself."""
        return self.blocked_at(file.parent) or (None if self._may("-r", file) else file)

    def _may(self, permission: str, path: Path) -> bool:
        command = [*self.prefix(), "test", permission, str(path)]
        return subprocess.run(command, check=False).returncode == 0


def unprivileged_account(name: str) -> OsAccount | None:
    """
    Return the account for a process started by root, made when missing; None when not root.

    Raises
    ------
    DatabaseError
        If the account is root itself, or is missing and cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        _make(name)
        entry = pwd.getpwnam(name)
    if entry.pw_uid == 0:
        raise DatabaseError(
            f"PostgreSQL must not run as root, but its OS account `{name}` is root; "
            "name another one."
        )
    return OsAccount(name, entry.pw_uid, entry.pw_gid)


def _make(name: str) -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise DatabaseError(
            f"There is no OS account `{name}` and no `useradd` to make it; make it by hand."
        )
    command = [useradd, "--system", "--user-group", "--no-create-home", name]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    # 9 = the name is taken: another process of the lab was faster
    if made.returncode not in (0, 9):
        raise DatabaseError(
            f"The OS account `{name}` could not be made: {made.stderr.strip()}; make it by hand."
        )
