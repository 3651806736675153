"""The OS account of what must not run as root."""

import os
import sys
from pathlib import Path

from lab.config import Settings
from lab.db.os_account import OsAccount, unprivileged_account
from lab.errors import ServiceError


def notebook_account(settings: Settings) -> OsAccount | None:
    """
    Return the account that runs the dashboards, made when missing; None when we are not root.

    Raises
    ------
    ServiceError
        If it cannot reach the interpreter, the package or the data folder.
    """
    account = _account(settings.config.hub.notebook_user)
    if account and (blocked := account.blocked_at(settings.data_folder)):
        raise ServiceError(
            f"The account `{account.name}` may not enter `{blocked}`, which leads to the data "
            f"folder `{settings.data_folder}`; run `chmod o+x {blocked}` or set LAB_DATA_FOLDER."
        )
    return account


def evaluation_account(settings: Settings, notebook: Path) -> OsAccount | None:
    """
    Return the account that runs an evaluation, made when missing; None when we are not root.

    It is not the one of the dashboards, whose kernels hold the tokens of people.

    Raises
    ------
    ServiceError
        If it cannot reach the interpreter or the package, or read the notebook.
    """
    account = _account(f"{settings.config.hub.notebook_user}-evals")
    if account and (closed := account.kept_from(notebook)):
        raise ServiceError(
            f"The lab never runs notebooks as root, and the account `{account.name}` may not read "
            f"`{notebook}`: `{closed}` is closed to it. Run `chmod o+rX {closed}`, or let "
            "LAB_DATA_NOTEBOOKS_FOLDER name a folder that every account can read."
        )
    return account


def _account(name: str) -> OsAccount | None:
    """Return the account if it can run the lab's code; None when we are not root."""
    account = unprivileged_account(name)
    if account is None:
        return None
    package = Path(__file__).resolve().parent
    # A symlink may lead out of a folder that everybody may enter.
    for needed in (Path(sys.executable).resolve(), Path(sys.executable), package):
        if blocked := account.blocked_at(needed):
            raise ServiceError(
                f"The lab never runs notebooks as root, and the account `{account.name}` may not "
                f"enter `{blocked}`, which leads to `{needed}`. Install the lab where every "
                "account can read it, with an interpreter such as /usr/bin/python3 "
                "(`PYTHON=/usr/bin/python3 make up`), or start it as another account than root."
            )
    return account


def own_folder(folder: Path, account: OsAccount | None) -> Path:
    """
    Return the folder, made if missing, closed to everybody but the account (or us).

    What another account had in a folder of its own goes over with the folder: the numbers of
    accounts are others on another machine.
    """
    folder.parent.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if account and (former := folder.stat().st_uid) != account.uid:
        _hand_over(folder, former, account)
    return folder


def _hand_over(folder: Path, former: int, account: OsAccount) -> None:
    """Give an account what is another's in a folder, the folder last; follows no link."""
    for _, folders, files, at in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            if os.stat(name, dir_fd=at, follow_symlinks=False).st_uid == former:
                os.chown(name, account.uid, account.gid, dir_fd=at, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid)
