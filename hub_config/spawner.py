"""Notebook servers: local processes that never run as root and never see each other's files."""

import asyncio
import sys
from hashlib import blake2s
from pathlib import Path
from typing import Any

from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Dict, Instance, Unicode

from lab.db.os_account import OsAccount, unprivileged_account
from lab.supervisor.accounts import own_folder


class LabSpawner(SimpleLocalProcessSpawner):  # type: ignore[misc]  # JupyterHub has no types
    """
    Starts a person's notebook server in a home of their own.

    Started by root, each person's server has an OS account of its own, so that one cannot read
    another's files or the token in another's environment.
    """

    homes = Instance(Path, help="Folder of the homes.").tag(config=True)
    notebooks = Instance(Path, help="The lab's notebooks, copied to new homes.").tag(config=True)
    account_prefix = Unicode(help="What the names of OS accounts begin with.").tag(config=True)
    base_environment = Dict(help="Variables that every server starts with.").tag(config=True)

    async def start(self) -> tuple[str, int]:
        """Prepare the home, then start the server as its account."""
        account = await asyncio.to_thread(self._account)
        home = await asyncio.to_thread(own_folder, self._home(), account)
        identity: dict[str, Any] = (
            {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        )
        self.popen_kwargs = {"cwd": home, **identity}
        await self._copy_notebooks(home, account)
        return await super().start()

    def make_preexec_fn(self, name: str) -> None:
        """Do nothing between fork and exec: `start` says who runs the server and where."""

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Add the home to the variables of the server."""
        home = str(self._home())
        return {**self.base_environment, **env, "USER": self.user.name, "HOME": home}

    def _account(self) -> OsAccount | None:
        return unprivileged_account(account_name(self.account_prefix, self.user.name))

    def _home(self) -> Path:
        return Path(self.homes) / self.user.name

    async def _copy_notebooks(self, home: Path, account: OsAccount | None) -> None:
        """Copy as the person: in their home, a link may lead anywhere."""
        copying = await asyncio.create_subprocess_exec(
            *(account.prefix() if account else ()),
            *(sys.executable, "-P", "-m", "hub_config.notebooks", str(self.notebooks)),
            str(home / "notebooks"),
            stderr=asyncio.subprocess.PIPE,
            cwd=home,
            env={"HOME": str(home)},
        )
        _, complaint = await copying.communicate()
        if copying.returncode:
            self.log.error("The notebooks were not copied: %s", complaint.decode().strip())


def account_name(prefix: str, person: str) -> str:
    """
    Return the name of a person's OS account.

    It follows from the login name, as the home does: the numbers that the hub gives people are
    others in a new database. A digest, because the system takes fewer characters than a login name.

    >>> account_name("labuser", "ada")
    'labuser-da2c5471c377'
    """
    return f"{prefix}-{blake2s(person.encode(), digest_size=6).hexdigest()}"
