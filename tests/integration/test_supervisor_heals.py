import asyncio
import os
import signal
import time

import httpx
import pytest

from lab.supervisor.orphans import marked
from tests.ports import free_port
from tests.stack import RunningStack, lab_environment, lab_folder, run_lab, start_stack

pytestmark = pytest.mark.integration

HEALS_WITHIN_S = 20.0
PROCESSES = ("postgres", "api", "dashboards", "proxy", "hub", "scheduler")


async def until_healed(stack: RunningStack, name: str, killed: int) -> float:
    """Return the seconds until a new process of that name is ready and the lab answers."""
    started = time.monotonic()
    async with httpx.AsyncClient(timeout=5) as client:
        while time.monotonic() - started < HEALS_WITHIN_S:
            process = stack.process(name)
            if process.pid not in (None, killed) and process.state == "ready":
                home = await client.get(f"{stack.url}/hub/health")
                api = await client.get(f"{stack.url}/services/api/readyz")
                if home.status_code == api.status_code == 200:
                    return time.monotonic() - started
            await asyncio.sleep(0.2)
    raise AssertionError(f"{name} did not heal in {HEALS_WITHIN_S} s: {stack.record()}")


@pytest.mark.parametrize("name", PROCESSES)
async def test_kill_9_of_any_process_heals(stack: RunningStack, name: str) -> None:
    killed = stack.process(name).pid
    assert killed is not None

    os.kill(killed, signal.SIGKILL)

    await until_healed(stack, name, killed)


async def test_the_hub_knows_its_users_once_the_database_is_back(stack: RunningStack) -> None:
    password = stack.add_user("lise")
    async with stack.visitor("lise", password) as lise:
        token = await lise.token()
    killed = stack.process("postgres").pid
    assert killed is not None

    os.kill(killed, signal.SIGKILL)
    await until_healed(stack, "postgres", killed)
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        first = await client.get("/hub/api/user", headers={"Authorization": f"token {token}"})

    assert first.status_code == 200, first.text
    assert first.json()["name"] == "lise"


async def test_notebook_servers_outlive_the_hub_and_are_found_again(stack: RunningStack) -> None:
    password = stack.add_user("hedy")
    async with stack.visitor("hedy", password) as hedy:
        await hedy.start_server()
        token = await hedy.token()
    headers = {"Authorization": f"token {token}"}
    hub = stack.process("hub").pid
    assert hub is not None

    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=20) as client:
        before = (await client.get("/user/hedy/api/status")).json()
        os.kill(hub, signal.SIGKILL)
        await until_healed(stack, "hub", hub)
        after = (await client.get("/user/hedy/api/status")).json()

    assert after["started"] == before["started"]


async def test_a_second_lab_up_is_refused_and_says_where_the_first_is(stack: RunningStack) -> None:
    second = await asyncio.to_thread(stack.lab, "up")

    assert second.returncode == 1
    assert stack.url in second.stderr
    assert "lab down" in second.stderr
    assert "Traceback" not in second.stderr


async def test_status_shows_every_process_and_agrees_with_the_exit_code(
    stack: RunningStack,
) -> None:
    status = await asyncio.to_thread(stack.lab, "status")

    assert status.returncode == 0, status.stdout
    assert all(name in status.stdout for name in PROCESSES)


async def test_logs_show_what_a_process_wrote(stack: RunningStack) -> None:
    logs = await asyncio.to_thread(stack.lab, "logs", "hub", "-n", "2000")

    assert "Running JupyterHub version" in logs.stdout


async def test_a_taken_port_stops_the_start_and_leaves_nothing_behind() -> None:
    folder = lab_folder()
    environment = lab_environment(folder)
    port = free_port()
    environment["LAB_SERVER_API_PORT"] = str(port)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    async with server:
        up = await asyncio.to_thread(run_lab, environment, "up")

    assert up.returncode == 1
    assert f"port {port} (LAB_SERVER_API_PORT)" in up.stderr
    assert str(os.getpid()) in up.stderr
    assert not marked(folder)


async def test_a_new_lab_clears_up_behind_a_killed_supervisor() -> None:
    folder = lab_folder()
    environment = lab_environment(folder)
    try:
        first = await asyncio.to_thread(start_stack, environment)
        orphans = {process.pid for process in first.record().processes}
        os.kill(first.record().pid, signal.SIGKILL)
        assert first.lab("status").returncode == 1

        second = await asyncio.to_thread(start_stack, environment)

        assert not orphans & {process.pid for process in second.record().processes}
        assert second.lab("status").returncode == 0
    finally:
        down = await asyncio.to_thread(run_lab, environment, "down")
    assert down.returncode == 0, down.stderr
    assert not marked(folder)
