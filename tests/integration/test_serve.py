"""`lab serve` when something is missing: one line and exit code 1."""

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack import LAB, free_ports, lab_environment, run_lab

pytestmark = pytest.mark.integration


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
    url = f"http://127.0.0.1:{environment['LAB_SERVER_PORT']}"
    serve = await asyncio.create_subprocess_exec(LAB, "serve", env=environment)
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            ready = await until_answered(client, "/readyz")
    finally:
        serve.terminate()
        code = await asyncio.wait_for(serve.wait(), 60)

    assert ready.status_code == 200
    assert code == 0
    assert not (folder / "postgres" / "data" / "postmaster.pid").exists()


async def until_answered(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async with asyncio.timeout(120):
        while True:
            try:
                return await client.get(path)
            except httpx.TransportError:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_database_that_is_gone_is_one_line(folder: Path, command: str) -> None:
    (port,) = free_ports(1)
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
