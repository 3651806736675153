"""`lab serve`, commands and programs beside it, and one line and exit code 1 for what is wrong."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from lab.supervisor.record import SERVE, living_record, read_record
from tests.ports import free_port
from tests.stack import LAB, lab_environment, run_lab, start_stack

pytestmark = pytest.mark.integration

PROGRAM = """
import asyncio
from lab import connect

async def main():
    async with connect() as lab:
        models = await lab.models()
        print(lab.openai()["base_url"], *(model.id for model in models))

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def last_line(run: "subprocess.CompletedProcess[str]") -> str:
    assert "Traceback" not in run.stdout + run.stderr
    return run.stderr.strip().splitlines()[-1]


async def test_it_serves_until_told_to_end_and_leaves_no_database_behind(folder: Path) -> None:
    environment = lab_environment(folder)
    async with serving(environment) as serve, api(environment) as client:
        ready = await until_answered(client, "/readyz")
        recorded = living_record(folder, SERVE)

    assert ready.status_code == 200
    assert recorded is not None
    assert recorded.pid == serve.pid
    assert serve.returncode == 0
    assert read_record(folder, SERVE) is None
    assert not postmaster(folder).exists()


@asynccontextmanager
async def serving(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `lab serve` until it is killed or the block ends; it answers after a while."""
    serve = await asyncio.create_subprocess_exec(LAB, "serve", env=environment)
    try:
        yield serve
    finally:
        if serve.returncode is None:
            serve.terminate()
        await asyncio.wait_for(serve.wait(), 60)


def api(environment: dict[str, str]) -> httpx.AsyncClient:
    url = f"http://127.0.0.1:{environment['LAB_SERVER_PORT']}"
    return httpx.AsyncClient(base_url=url, trust_env=False)


def postmaster(folder: Path) -> Path:
    return folder / "postgres" / "data" / "postmaster.pid"


async def until_answered(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async with asyncio.timeout(120):
        while True:
            try:
                return await client.get(path)
            except httpx.TransportError:
                await asyncio.sleep(0.2)


async def test_commands_without_a_lab_share_the_database(folder: Path) -> None:
    environment = lab_environment(folder)
    commands = [("users", "list"), ("db", "status"), ("keys", "create", "ci"), ("users", "list")]

    runs = await asyncio.gather(*(asyncio.to_thread(run_lab, environment, *c) for c in commands))

    assert [run.stderr for run in runs if run.returncode or "Traceback" in run.stderr] == []
    assert not postmaster(folder).exists()


async def test_a_command_that_was_first_leaves_the_database_to_it(folder: Path) -> None:
    environment = lab_environment(folder)
    chat = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api.local"),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert chat.stdout is not None
    assert b"url" in await asyncio.wait_for(chat.stdout.readline(), 120)
    async with serving(environment), api(environment) as client:
        await until_answered(client, "/readyz")
        await chat.communicate(b"")  # closes its standard input

        assert chat.returncode == 0
        assert (await client.get("/readyz")).status_code == 200


async def test_commands_and_programs_use_it(folder: Path) -> None:
    environment = lab_environment(folder)
    # A second lab would have another model.
    own = environment | {"LAB_CHAT_MODEL": str(folder / "none")}
    async with serving(environment), api(environment) as client:
        await until_answered(client, "/readyz")
        command = await asyncio.to_thread(run_lab, own, "models", "list", "--json")
        program = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", PROGRAM],
            env=own,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        keys = await asyncio.to_thread(run_lab, environment, "keys", "list", "--json")

    assert command.returncode == 0, command.stderr
    assert "lab-tiny" in command.stdout
    assert program.returncode == 0, program.stderr
    assert program.stdout.startswith(f"{client.base_url}".rstrip("/") + "/v1 ")
    assert "lab-tiny" in program.stdout
    assert json.loads(keys.stdout) == []


async def test_what_a_killed_one_left_is_no_obstacle(folder: Path) -> None:
    environment = lab_environment(folder)
    await serve_killed(environment)

    doctor = await asyncio.to_thread(run_lab, environment, "doctor", "--json")
    listed = await asyncio.to_thread(run_lab, environment, "users", "list")

    (ports,) = [f for f in json.loads(doctor.stdout) if f["check"] == "ports"]
    assert ports["good"], ports
    assert listed.returncode == 0, listed.stderr
    assert not postmaster(folder).exists()


async def serve_killed(environment: dict[str, str]) -> None:
    """Run `lab serve` and kill it once it answers."""
    async with serving(environment) as serve, api(environment) as client:
        await until_answered(client, "/readyz")
        os.kill(serve.pid, signal.SIGKILL)
        await serve.wait()


async def test_the_whole_lab_waits_for_it_and_clears_up_behind_it(folder: Path) -> None:
    environment = lab_environment(folder)
    async with serving(environment) as serve, api(environment) as client:
        await until_answered(client, "/readyz")
        up = await asyncio.to_thread(run_lab, environment | other_port(), "up")
        down = await asyncio.to_thread(run_lab, environment, "down")

        assert (await client.get("/readyz")).status_code == 200
        assert up.returncode == 1
        assert "`lab serve`" in last_line(up)
        assert f"process {serve.pid}" in last_line(down)
        os.kill(serve.pid, signal.SIGKILL)
        await serve.wait()

    down = await asyncio.to_thread(run_lab, environment, "down")
    assert "Ended 1 process" in last_line(down)
    assert not postmaster(folder).exists()


async def test_the_whole_lab_takes_the_database_of_a_killed_one_over(folder: Path) -> None:
    environment = lab_environment(folder)
    await serve_killed(environment)
    try:
        await asyncio.to_thread(start_stack, environment)
    finally:
        down = await asyncio.to_thread(run_lab, environment, "down")

    assert down.returncode == 0, down.stderr
    assert not postmaster(folder).exists()


def other_port() -> dict[str, str]:
    return {"LAB_SERVER_PORT": str(free_port())}


@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_database_that_is_gone_is_one_line(folder: Path, command: str) -> None:
    port = free_port()
    environment = lab_environment(folder) | {
        "LAB_DATABASE_URL": f"postgresql://lab:hunter2@127.0.0.1:{port}/lab",
        "LAB_DATABASE_CONNECT_TIMEOUT_S": "1",
    }

    run = run_lab(environment, command)

    assert run.returncode == 1
    assert last_line(run).startswith("Error: No connection to database `lab`")
    assert f"127.0.0.1:{port}" in run.stderr
    assert "hunter2" not in run.stdout + run.stderr


def test_a_database_of_another_kind_is_refused_without_its_password(folder: Path) -> None:
    environment = lab_environment(folder) | {"LAB_DATABASE_URL": "mysql://lab:hunter2@db/lab"}

    run = run_lab(environment, "serve")

    assert run.returncode == 1
    assert "LAB_DATABASE_URL is not the URL of a PostgreSQL" in last_line(run)
    assert "hunter2" not in run.stdout + run.stderr


def test_a_schedule_that_nothing_fires_is_kept_and_says_so(folder: Path) -> None:
    environment = lab_environment(folder)
    added = run_lab(environment, "eval", "schedule", "add", "nightly", "30 2 * * *", "long_memory")
    listed = run_lab(environment, "eval", "schedule", "list")

    assert added.returncode == 0, added.stderr
    assert last_line(added).startswith("`nightly` is kept and due at ")
    assert last_line(added).endswith("No scheduler is alive to start it; `lab up` runs one.")
    assert added.stdout.strip() in listed.stdout
    assert last_line(listed).startswith("No scheduler is alive")


def test_a_port_in_use_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run = run_lab(lab_environment(folder) | {"LAB_SERVER_PORT": str(port)}, "serve")

    assert run.returncode == 1
    assert f"port {port} (LAB_SERVER_PORT)" in last_line(run)
