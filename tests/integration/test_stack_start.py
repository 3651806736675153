"""A lab that is started with a relative model folder, and whose hub loses its database."""

import asyncio
import os
import signal
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from lab.config import load_settings
from lab.db import embedded_server
from lab.supervisor.databases import HUB_DATABASE
from tests.integration.test_supervisor_heals import until_healed
from tests.kernels import open_kernel
from tests.stack import RunningStack, Visitor, running_stack
from tests.tiny_llama import save_tiny_llama

pytestmark = pytest.mark.integration

WRITE = """
import os, pathlib
note = pathlib.Path("note.txt")
note.write_text((note.read_text() if note.exists() else "") + os.environ["USER"] + " ")
print(os.getuid(), note.read_text())
"""


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    model = save_tiny_llama(tmp_path_factory.mktemp("models") / "mine", 512)
    # Two threads, where tests have one: as torch computes on a machine of its own.
    with running_stack(LAB_CHAT_MODEL=os.path.relpath(model), OMP_NUM_THREADS="2") as running:
        yield running


def test_the_proxy_and_the_hubs_looks_leave_no_line_at_a_start(own_stack: RunningStack) -> None:
    logs = own_stack.data_folder / "logs"

    assert "ECONNREFUSED" not in (logs / "proxy.log").read_text()
    assert "GET" not in (logs / "api.log").read_text()


async def test_a_relative_model_folder_begins_where_the_lab_was_started(
    own_stack: RunningStack,
) -> None:
    async with own_stack.visitor(own_stack.admin, own_stack.password) as admin:
        token = await admin.token()
    body = {"model": "mine", "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 2}
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=own_stack.url, headers=headers, timeout=60) as client:
        answer = await client.post("/services/api/v1/chat/completions", json=body)

    assert answer.status_code == 200, answer.text


async def write(stack: RunningStack, name: str, password: str) -> tuple[str, str]:
    """Log in, and write into a file in one's home; return the account and the file."""
    async with stack.visitor(name, password) as person:
        await person.start_server()
        token = await person.token()
        async with open_kernel(stack.url, name, token) as kernel:
            uid, text = (await kernel.run(WRITE)).split(maxsplit=1)
        await stop_server(person)
    return uid, text.strip()


async def stop_server(person: Visitor) -> None:
    await person.hub("DELETE", f"/users/{person.name}/server")
    async with asyncio.timeout(60):
        while (await person.hub("GET", f"/users/{person.name}")).json()["servers"]:
            await asyncio.sleep(0.2)


async def lose_the_hubs_database(stack: RunningStack) -> None:
    """Put an empty database in the place of the hub's, and start the hub on it."""
    environ = {k: v for k, v in stack.environment.items() if k.startswith("LAB_")}
    settings = load_settings(environ=environ)
    hub = stack.process("hub").pid
    assert hub is not None
    url = embedded_server(settings).url()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"DROP DATABASE {HUB_DATABASE} WITH (FORCE)".encode())
        await connection.execute(f"CREATE DATABASE {HUB_DATABASE}".encode())
    os.kill(hub, signal.SIGKILL)
    await until_healed(stack, "hub", hub)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as other accounts")
async def test_homes_stay_their_owners_when_the_hub_begins_anew(own_stack: RunningStack) -> None:
    passwords = {name: own_stack.add_user(name) for name in ("ada", "bea")}
    before = {name: await write(own_stack, name, passwords[name]) for name in ("ada", "bea")}

    await lose_the_hubs_database(own_stack)
    after = {name: await write(own_stack, name, passwords[name]) for name in ("bea", "ada")}

    assert before["ada"][0] != before["bea"][0]
    assert after == {name: (uid, f"{name} {name}") for name, (uid, _) in before.items()}
