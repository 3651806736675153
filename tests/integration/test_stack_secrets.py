"""No secret of a lab that runs stands in a log, an error, a setting that is shown or `ps`."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from lab.supervisor.credentials import FILE
from lab.supervisor.orphans import marked
from tests.stack import RunningStack

pytestmark = pytest.mark.integration

MISTYPED = "correct-horse-battery-staple"
FOREIGN_KEY = "lab_foreign-key-of-another-lab"


async def secrets_in_use(stack: RunningStack) -> list[str]:
    """Use every kind of secret, right and wrong, and return them."""
    key = (await asyncio.to_thread(stack.lab, "keys", "create", "grep")).stdout.strip()
    async with stack.visitor(stack.admin, MISTYPED) as nobody:
        assert nobody.landing.status_code == 403
    async with stack.visitor(stack.admin, stack.password) as admin:
        token = await admin.token()
    async with httpx.AsyncClient(base_url=f"{stack.url}/services/api", trust_env=False) as client:
        for secret in (key, token, FOREIGN_KEY):
            headers = {"Authorization": f"Bearer {secret}"}
            await client.get("/v1/models", headers=headers)
            await client.post("/v1/chat/completions", headers=headers, content=b"{")
    shared = json.loads((stack.data_folder / FILE).read_text()).values()
    database = (stack.data_folder / "postgres" / "password").read_text().strip()
    return [stack.password, MISTYPED, FOREIGN_KEY, key, token, database, *shared]


def said(stack: RunningStack) -> Iterator[tuple[str, str]]:
    """Yield what anybody may read of the lab, with where it stands."""
    for file in (stack.data_folder / "logs").iterdir():
        yield file.name, file.read_text(errors="replace")
    for arguments in (("config", "explain", "--json"), ("config", "env"), ("status", "--json")):
        run = stack.lab(*arguments)
        yield " ".join(arguments), run.stdout + run.stderr
    for process in marked(stack.data_folder):
        yield f"ps {process.pid}", " ".join(process.cmdline())


async def test_no_secret_stands_where_it_can_be_read(stack: RunningStack) -> None:
    secrets = await secrets_in_use(stack)

    places = await asyncio.to_thread(lambda: list(said(stack)))

    assert all(len(secret) >= 12 for secret in secrets)
    assert any(text for _, text in places)
    found = {place: n for place, text in places for n, s in enumerate(secrets) if s in text}
    assert not found, "secrets by number, by place"
