import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import psutil
import pytest

from tests.kernels import Kernel, open_kernel
from tests.stack import RunningStack

pytestmark = pytest.mark.integration

FRESH_NOTEBOOK = """
from lab import connect
lab = connect()
answer = await lab.chat("Say hello.", seed=1)
print(answer.text)
"""

REPORT = """
import sys
report = await lab.residents.report()
copies = [one for one in report.models if one.model == "lab-tiny"]
loads = [one for one in report.decisions if one.model == "lab-tiny" and one.kind == "loaded"]
n_bytes = copies[0].used_bytes
print(len(copies), len(loads), copies[0].weight_bytes, "torch" in sys.modules, n_bytes)
"""


@pytest.fixture(scope="module")
async def token(stack: RunningStack) -> str:
    """Return a token of ada's, whose notebook server runs."""
    password = stack.add_user("ada")
    async with stack.visitor("ada", password) as ada:
        await ada.start_server()
        return await ada.token()


@pytest.fixture
async def kernel(stack: RunningStack, token: str) -> AsyncIterator[Kernel]:
    async with open_kernel(stack.url, "ada", token) as kernel:
        yield kernel


async def test_a_notebook_never_runs_as_root(kernel: Kernel) -> None:
    uid, home = (await kernel.run("import os; print(os.getuid(), os.environ['HOME'])")).split()

    assert int(uid) != 0
    assert home.endswith("/homes/ada")


async def test_a_notebook_cannot_read_what_is_not_its_own(
    stack: RunningStack, kernel: Kernel
) -> None:
    closed = [stack.data_folder / "secrets" / "credentials.json"]
    closed += [stack.data_folder / "postgres" / name for name in ("password", "data/PG_VERSION")]
    closed += [stack.data_folder / "logs" / "hub.log", stack.data_folder / "homes" / ".dashboards"]
    paths = [str(path) for path in closed]
    readable = await kernel.run(f"import os; print([p for p in {paths} if os.access(p, os.R_OK)])")

    assert readable.strip() == "[]"


async def test_a_notebooks_environment_holds_no_secret_of_the_lab(kernel: Kernel) -> None:
    names = await kernel.run("import os; print([n for n in os.environ if n.startswith('LAB_')])")

    assert "LAB_API_URL" in names
    assert "LAB_DATABASE_URL" not in names


async def test_the_token_of_a_notebook_may_ask_and_remember_only(
    stack: RunningStack, kernel: Kernel
) -> None:
    token = (await kernel.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])")).strip()

    async with httpx.AsyncClient() as client:
        asked = await client.get(
            f"{stack.url}/hub/api/user", headers={"Authorization": f"token {token}"}
        )

    scopes = set(asked.json()["scopes"])
    assert {"custom:lab:infer", "custom:lab:memory", "access:services!service=api"} <= scopes
    assert "custom:lab:admin" not in scopes
    assert not any(scope.startswith(("admin:", "servers", "tokens")) for scope in scopes)


async def test_a_fresh_notebook_reaches_a_model_without_a_key(kernel: Kernel) -> None:
    assert (await kernel.run(FRESH_NOTEBOOK)).strip()


async def test_a_new_home_has_the_labs_notebooks(kernel: Kernel) -> None:
    found = await kernel.run(
        "import pathlib; print(pathlib.Path('notebooks/00_tour.ipynb').exists())"
    )

    assert found.strip() == "True"


async def test_kernels_of_three_people_use_one_copy_of_a_model(
    stack: RunningStack, kernel: Kernel
) -> None:
    """No kernel loads anything, and the lab loads the model once for all."""
    api = psutil.Process(stack.process("api").pid)
    async with AsyncExitStack() as opened:
        kernels = [kernel]
        for name in ("bea", "cai"):
            visitor = stack.visitor(name, stack.add_user(name))
            person = await opened.enter_async_context(visitor)
            await person.start_server()
            place = open_kernel(stack.url, name, await person.token())
            kernels.append(await opened.enter_async_context(place))
        await kernel.run(FRESH_NOTEBOOK)
        by_one = await kernel.run(REPORT)
        before = api.memory_info().rss
        printed = await asyncio.gather(*(one.run(FRESH_NOTEBOOK) for one in kernels))
        by_three = await asyncio.gather(*(one.run(REPORT) for one in kernels))
        grown = api.memory_info().rss - before

    _, _, weights, _, used = by_one.split()
    assert all(text.strip() for text in printed)
    for report in by_three:
        assert report.split()[:4] == ["1", "1", weights, "False"]
    assert grown < 2 * int(used)  # buffers of keys and values at most double
