"""Login with the accounts of the lab's database."""

import asyncio
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from tornado.web import HTTPError
from traitlets import Callable

from hub_config.roles import ADMINS
from lab.db import Database
from lab.errors import DatabaseError


class LabAuthenticator(Authenticator):  # type: ignore[misc]  # JupyterHub has no types
    """Checks name and password against the lab's accounts, which also hold groups and admins."""

    new_database = Callable(help="Returns the lab's database, not yet open.").tag(config=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._opening = asyncio.Lock()
        self._database: Database | None = None

    async def authenticate(
        self, handler: BaseHandler | None, data: dict[str, str]
    ) -> dict[str, Any] | None:
        """Return who logged in, or None for a wrong name or password."""
        name = self.normalize_username(data["username"])
        try:
            database = await self._open()
            async with database.accounts() as accounts:
                user = await accounts.check_password(name, data["password"])
        except DatabaseError as error:
            self.log.error("Login of %r: %s", name, error)
            raise HTTPError(503, "The lab's database does not answer; try again.") from error
        if user is None:
            return None
        groups = [*user.groups, ADMINS] if user.is_admin else user.groups
        return {"name": user.name, "admin": user.is_admin, "groups": groups}

    async def _open(self) -> Database:
        """Connect at the first login: the hub has no event loop yet when it reads its config."""
        async with self._opening:
            if self._database is None:
                database: Database = self.new_database()
                await database.open()
                self._database = database
            return self._database
