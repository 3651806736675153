"""The embedded server survives what happens to servers, and says what is wrong."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg
import pytest

from lab.db import Database, EmbeddedPostgres, upgrade
from lab.db.os_account import unprivileged_account
from lab.errors import ConflictError, DatabaseError
from lab.schemas.database_config import DatabaseConfig
from tests.database import OS_USER
from tests.ports import free_port

pytestmark = pytest.mark.integration

USER = """
import asyncio, sys
from pathlib import Path
from lab.db import EmbeddedPostgres

async def use(folder, port, os_user):
    async with EmbeddedPostgres(Path(folder), int(port), os_user).running() as server:
        print(server.pid(), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(use(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
async def prepared() -> AsyncIterator[Path]:
    """Return a folder that a server prepared: preparing takes long, copying does not."""
    with temporary_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres", free_port(), OS_USER)
        await server.prepare()
        yield server.folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture
async def new_server(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "postgres", free_port(), OS_USER)
    yield server
    await server.stop()


@pytest.fixture
async def server(prepared: Path, new_server: EmbeddedPostgres) -> EmbeddedPostgres:
    subprocess.run(["cp", "-a", prepared, new_server.folder], check=True)
    return new_server


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="lab-") as name:
        Path(name).chmod(0o711)  # the account of the server passes through
        yield Path(name)


def password_of(server: EmbeddedPostgres) -> str:
    return (server.folder / "password").read_text()


async def kill(pid: int | None) -> None:
    assert pid is not None
    process = psutil.Process(pid)
    process.kill()
    with suppress(psutil.NoSuchProcess, FileNotFoundError):  # it may end between two looks at it
        while process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def user(server: EmbeddedPostgres) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run another process that uses the server until it is killed or the block ends."""
    arguments = (str(server.folder), str(server.port), server.os_user)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USER, *arguments, stdin=pipe, stdout=pipe
    )
    try:
        yield process
    finally:
        await process.communicate(b"")  # closes its standard input


async def told(process: asyncio.subprocess.Process) -> int:
    """Return which server the process uses."""
    assert process.stdout is not None
    return int(await process.stdout.readline())


async def count(server: EmbeddedPostgres, table: str) -> int:
    async with await psycopg.AsyncConnection.connect(server.url()) as connection:
        found = await connection.execute(f"SELECT count(*) FROM {table}".encode())
        (number,) = await found.fetchone() or (0,)
        return int(number)


async def test_it_runs_unprivileged_behind_a_password(database_server: EmbeddedPostgres) -> None:
    account = unprivileged_account(OS_USER)
    process = psutil.Process(database_server.pid())
    password = password_of(database_server)

    with pytest.raises(psycopg.OperationalError, match="password"):
        await psycopg.AsyncConnection.connect(database_server.url().replace(password, ""))

    assert process.uids().effective == (account.uid if account else os.geteuid()) != 0
    assert process.gids().effective != 0
    assert (database_server.folder / "password").stat().st_mode & 0o777 == 0o600
    assert database_server.data.stat().st_mode & 0o777 == 0o700
    assert not any(password in word for word in process.cmdline())


async def test_a_running_server_is_used_and_left_on(database_server: EmbeddedPostgres) -> None:
    first = database_server.pid()
    same = EmbeddedPostgres(database_server.folder, database_server.port, OS_USER)

    async with same.running():
        assert same.pid() == first

    assert database_server.pid() == first
    assert await database_server.ready()


async def test_the_last_user_stops_it(server: EmbeddedPostgres) -> None:
    async with AsyncExitStack() as others:
        async with server.running():
            first = server.pid()
            await others.enter_async_context(server.running())

        assert server.pid() == first
        assert await server.ready()

    assert server.pid() is None


async def test_processes_that_start_at_once_use_one_server(server: EmbeddedPostgres) -> None:
    async with user(server) as one, user(server) as two, user(server) as three:
        pids = [await told(process) for process in (one, two, three)]

        assert set(pids) == {server.pid()}

    assert [one.returncode, two.returncode, three.returncode] == [0, 0, 0]
    assert server.pid() is None


async def test_it_outlives_the_process_that_started_it(server: EmbeddedPostgres) -> None:
    async with AsyncExitStack() as others:
        async with user(server) as starter:
            started = await told(starter)
            other = await others.enter_async_context(user(server))
            await told(other)
            starter.kill()
            await starter.wait()

        assert server.pid() == started
        assert await server.ready()

    assert other.returncode == 0
    assert server.pid() is None


async def test_what_a_killed_process_left_is_used_and_stopped(server: EmbeddedPostgres) -> None:
    async with user(server) as killed:
        left = await told(killed)
        killed.kill()
        await killed.wait()

    async with server.running():
        assert server.pid() == left

    assert server.pid() is None


async def test_a_server_on_another_port_is_found(server: EmbeddedPostgres) -> None:
    async with server.running():
        moved = EmbeddedPostgres(server.folder, free_port(), OS_USER)

        async with moved.running():
            assert moved.pid() == server.pid()
            assert moved.url() == server.url()


async def test_only_what_nobody_uses_is_stopped_as_left_over(server: EmbeddedPostgres) -> None:
    async with user(server) as killed:
        await told(killed)

        assert not await server.stop_unused()
        killed.kill()
        await killed.wait()
        assert await server.stop_unused()

    assert server.pid() is None
    assert not await server.stop_unused()


async def test_a_supervisor_waits_for_users_and_then_refuses(server: EmbeddedPostgres) -> None:
    async with server.running():
        with pytest.raises(ConflictError, match=r"uses the database.*lab serve.*end it"):
            async with server.owned(timeout_s=0.1):
                pass

        assert await server.ready()


async def test_a_supervisor_clears_up_behind_a_killed_process(server: EmbeddedPostgres) -> None:
    async with user(server) as killed:
        await told(killed)
        killed.kill()
        await killed.wait()

    async with server.owned():
        assert server.pid() is None


async def test_users_wait_for_a_supervisor_and_leave_its_server_on(
    server: EmbeddedPostgres,
) -> None:
    async with server.owned():
        user = asyncio.create_task(_use_once(server))
        await asyncio.sleep(0.3)
        assert server.pid() is None
        await server.prepare()
        process = await asyncio.create_subprocess_exec(*server.command(), stderr=-3)

        assert await user == process.pid
        assert await server.ready()
        await server.stop()
        await process.wait()


async def _use_once(server: EmbeddedPostgres) -> int | None:
    async with server.running():
        return server.pid()


async def test_committed_rows_survive_a_kill(server: EmbeddedPostgres) -> None:
    async with server.running():
        await upgrade(server.url())
        async with Database(DatabaseConfig(), server.url()) as database:
            for name in ("ann", "bob"):
                async with database.accounts() as accounts:
                    await accounts.get_or_create(name)
            await kill(server.pid())

            async with server.running(), database.accounts() as accounts:
                assert [user.name for user in await accounts.list()] == ["ann", "bob"]


async def test_a_killed_backend_is_recovered_from(server: EmbeddedPostgres) -> None:
    async with server.running():
        await upgrade(server.url())
        async with Database(DatabaseConfig(), server.url()) as database:
            async with database.accounts() as accounts:
                await accounts.get_or_create("ann")
            async with database.pool.connection() as connection:
                backend = connection.info.backend_pid
            await kill(backend)
            async with asyncio.timeout(20):  # until then, new connections are cut as well
                while "reinitializing" not in server.log.read_text():
                    await asyncio.sleep(0.05)

            async with database.accounts() as accounts:
                assert [user.name for user in await accounts.list()] == ["ann"]


async def test_a_stale_pid_of_another_process_harms_nobody(server: EmbeddedPostgres) -> None:
    await server.prepare()
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    (server.data / "postmaster.pid").write_text(f"{bystander.pid}\n{server.data}\n1\n5432\n\n\n\n")

    assert server.pid() is None
    await server.stop()
    async with server.running():
        assert server.pid() not in (None, bystander.pid)

    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_a_stale_pid_of_no_process_is_left_to_the_server(server: EmbeddedPostgres) -> None:
    await server.prepare()
    (server.data / "postmaster.pid").write_text(f"{2**22 - 1}\n{server.data}\n1\n5432\n\n\n\n")

    async with server.running():
        assert await server.ready()


async def test_a_preparation_that_was_killed_half_way_is_done_again(
    new_server: EmbeddedPostgres,
) -> None:
    (new_server.folder / "data.new" / "data").mkdir(parents=True)
    (new_server.folder / "data.new" / "data" / "PG_VERSION").write_text("half")
    (new_server.folder / "password.new").write_text("half")
    same = [EmbeddedPostgres(new_server.folder, new_server.port, OS_USER) for _ in range(3)]

    await asyncio.gather(*(s.prepare() for s in same))

    assert (new_server.data / "PG_VERSION").read_text().strip() == "18"
    assert not list(new_server.folder.glob("*.new"))
    assert len({s.url() for s in same}) == 1


async def test_its_databases_are_created_once(database_server: EmbeddedPostgres) -> None:
    await asyncio.gather(*(database_server.create_database("hub") for _ in range(3)))

    assert await count(database_server, "pg_database WHERE datname IN ('lab', 'hub')") == 2


async def test_parallel_work_needs_no_shared_memory_mount(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        shown = await connection.execute("SHOW dynamic_shared_memory_type")

        assert await shown.fetchone() == ("mmap",)


async def test_a_folder_with_a_long_path_works(prepared: Path, folder: Path) -> None:
    server = EmbeddedPostgres(folder / ("long" * 25) / "postgres", free_port(), OS_USER)
    server.folder.parent.mkdir()
    subprocess.run(["cp", "-a", prepared, server.folder], check=True)

    async with server.running():
        assert await server.ready()


async def test_a_port_in_use_is_a_clear_error(server: EmbeddedPostgres) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.port))
        taken.listen()

        with pytest.raises(DatabaseError, match=rf"Port {server.port} .*LAB_DATABASE_PORT"):
            await server.prepare()


async def test_the_server_of_another_lab_is_not_taken_for_ours(
    server: EmbeddedPostgres, folder: Path
) -> None:
    other = EmbeddedPostgres(folder / "other", server.port, OS_USER)
    subprocess.run(["cp", "-a", server.folder, other.folder], check=True)
    (other.folder / "password").write_text("another")
    async with server.running():
        with pytest.raises(DatabaseError, match="in use"):
            await other.prepare()
        with pytest.raises(DatabaseError, match="Another PostgreSQL answers"):
            await other.wait_ready()


async def test_a_server_that_ends_at_once_says_why(server: EmbeddedPostgres) -> None:
    await server.prepare()
    (server.data / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(DatabaseError, match="no_such_setting"):
        async with server.running():
            pass


async def test_a_folder_that_is_not_writable_is_a_clear_error(folder: Path) -> None:
    (folder / "file").write_text("")
    server = EmbeddedPostgres(folder / "file" / "postgres", free_port(), OS_USER)

    with pytest.raises(DatabaseError, match=r"not writable .*LAB_DATA_FOLDER"):
        await server.prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
async def test_a_folder_that_the_account_cannot_reach_is_named(
    server: EmbeddedPostgres, folder: Path
) -> None:
    folder.chmod(0o700)

    with pytest.raises(DatabaseError, match=f"may not enter {folder},.*chmod o\\+x"):
        await server.prepare()


async def test_data_of_another_version_is_a_clear_error(server: EmbeddedPostgres) -> None:
    await server.prepare()
    (server.data / "PG_VERSION").write_text("16\n")

    with pytest.raises(DatabaseError, match="written by PostgreSQL 16"):
        await server.prepare()


async def test_a_lost_password_is_a_clear_error(server: EmbeddedPostgres) -> None:
    await server.prepare()
    (server.folder / "password").unlink()

    with pytest.raises(DatabaseError, match="password is missing"):
        await server.prepare()


async def test_an_interrupt_stops_it_in_order(server: EmbeddedPostgres) -> None:
    await server.prepare()
    process = await asyncio.create_subprocess_exec(*server.command(), stderr=-3)
    await server.wait_ready()

    process.send_signal(signal.SIGINT)

    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert not (server.data / "postmaster.pid").exists()
