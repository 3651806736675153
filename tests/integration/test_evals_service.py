"""Evaluation runs from request to result, on a real database, with real kernels."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nbformat
import psycopg
import pytest
from fastapi import FastAPI, Request
from structlog.testing import capture_logs

from lab.config import Settings, load_settings
from lab.db import Database
from lab.errors import ConflictError, InputError, NotFoundError
from lab.evals.service import Evaluations
from lab.schemas.eval_request import EvalRequest
from lab.schemas.eval_run import EvalRun
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from tests.integration.conftest import until_somebody_waits

pytestmark = pytest.mark.integration

ASK = """\
import os

import httpx

from lab.evals import record

url, key = os.environ["LAB_API_URL"], os.environ["LAB_API_KEY"]
answer = httpx.get(f"{url}/whose/{key}", trust_env=False).json()
record({"owner": answer["owner"], "n": n})
"""
SLEEP = "import time\n\ntime.sleep(60)"
IDS = """\
import os

from lab.evals import record

record({"root": 0 in {*os.getresuid(), *os.getresgid(), *os.getgroups()}})
"""


@pytest.fixture
def settings(open_folder: Path) -> Settings:
    for name, cell in (("ask", ASK), ("sleep", SLEEP), ("ids", IDS)):
        write(open_folder / "notebooks" / "evals" / f"{name}.ipynb", cell)
    environ = {
        "LAB_DATA_FOLDER": str(open_folder / "data"),
        "LAB_DATA_NOTEBOOKS_FOLDER": str(open_folder / "notebooks"),
    }
    return load_settings(environ=environ)


@pytest.fixture
def app(database: Database) -> FastAPI:
    """An app that says whose key it was given, as the lab's API does."""
    app = FastAPI()

    @app.get("/whose/{secret}")
    async def whose(secret: str, request: Request) -> dict[str, str]:
        async with database.accounts() as accounts:
            caller = await accounts.user_of_key(secret)
        return {"owner": caller.user.name}

    return app


@pytest.fixture
async def evaluations(
    settings: Settings, database: Database, app: FastAPI
) -> AsyncIterator[Evaluations]:
    evaluations = Evaluations(settings, database, app)
    yield evaluations
    await evaluations.aclose()


def write(file: Path, cell: str, parameters: str = "n: int = 1  # a number") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (parameters, cell)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, file)


async def reread(database: Database, run: EvalRun) -> EvalRun:
    async with database.stores(run.owner_id) as stores:
        return await stores.eval_runs.get(run.id)


async def until(database: Database, run: EvalRun, *statuses: RunStatus) -> EvalRun:
    async with asyncio.timeout(60):
        while (now := await reread(database, run)).status not in statuses:
            await asyncio.sleep(0.1)
    return now


async def test_a_run_acts_for_its_owner_and_leaves_its_result(
    evaluations: Evaluations, database: Database, settings: Settings, owner: User
) -> None:
    queued = await evaluations.start(owner, EvalRequest(evaluation="ask", parameters={"n": 7}))

    run = await until(database, queued, RunStatus.completed, RunStatus.failed)

    assert run.error is None
    assert run.metrics == {"owner": "ann", "n": 7}
    assert (run.cells_done, run.cells_total) == (3, 3)
    assert run.executed_notebook == f"evals/{run.id}/ask.ipynb"
    page = await evaluations.executed(owner, run.id, "html")
    assert "lab_" not in page.read_text() + page.with_suffix(".ipynb").read_text()
    async with database.stores(owner.id) as stores:
        assert await stores.api_keys.list() == []


async def test_runs_wait_for_each_other_and_can_be_stopped(
    evaluations: Evaluations, database: Database, owner: User, other_owner: User
) -> None:
    first = await evaluations.start(owner, EvalRequest(evaluation="sleep"))
    second = await evaluations.start(owner, EvalRequest(evaluation="sleep"))
    await until(database, first, RunStatus.running)

    assert (await reread(database, second)).status is RunStatus.queued
    with pytest.raises(NotFoundError):
        await evaluations.cancel(other_owner, first.id)
    stopped = [await evaluations.cancel(owner, run.id) for run in (second, first)]
    assert [run.status for run in stopped] == [RunStatus.cancelled] * 2
    with pytest.raises(ConflictError, match="it is cancelled"):
        await evaluations.cancel(owner, first.id)


async def test_runs_of_a_process_that_ends_say_so(
    evaluations: Evaluations, database: Database, owner: User
) -> None:
    run = await evaluations.start(owner, EvalRequest(evaluation="sleep"))
    await until(database, run, RunStatus.running)

    await evaluations.aclose()

    run = await reread(database, run)
    assert run.status is RunStatus.interrupted
    assert run.finished_at is not None
    async with database.stores(owner.id) as stores:
        assert await stores.api_keys.list() == []


async def test_an_evaluation_never_runs_as_root(
    evaluations: Evaluations, database: Database, owner: User
) -> None:
    run = await evaluations.start(owner, EvalRequest(evaluation="ids"))

    run = await until(database, run, RunStatus.completed, RunStatus.failed)

    assert (run.error, run.metrics) == (None, {"root": False})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root executes as another account")
async def test_a_notebook_that_the_account_cannot_read_is_named(
    evaluations: Evaluations, database: Database, settings: Settings, owner: User
) -> None:
    notebook = settings.notebooks_folder / "evals" / "ids.ipynb"
    notebook.chmod(0o600)
    run = await evaluations.start(owner, EvalRequest(evaluation="ids"))

    run = await until(database, run, RunStatus.completed, RunStatus.failed)

    assert run.status is RunStatus.failed
    assert f"may not read `{notebook}`" in str(run.error)
    assert f"chmod o+rX {notebook}" in str(run.error)


async def test_executed_notebooks_are_closed_to_other_accounts(
    evaluations: Evaluations, database: Database, settings: Settings, owner: User
) -> None:
    (results := settings.data_folder / "evals").mkdir(mode=0o755)
    run = await evaluations.start(owner, EvalRequest(evaluation="ids"))

    await until(database, run, RunStatus.completed, RunStatus.failed)

    kept = [results, *results.rglob("*")]
    assert len(kept) == 4  # two folders, the notebook and its page
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
    assert {path.stat().st_uid for path in kept} == {os.geteuid()}


async def test_a_run_that_ends_while_it_is_stopped_keeps_its_result(
    evaluations: Evaluations, database: Database, database_url: str, owner: User
) -> None:
    async with completion_held_back(database_url) as connection:
        run = await evaluations.start(owner, EvalRequest(evaluation="ask"))
        await until_somebody_waits(connection)
        stopping = asyncio.create_task(evaluations.cancel(owner, run.id))
        await asyncio.sleep(0.5)

    with pytest.raises(ConflictError, match="it is completed"):
        await stopping
    run = await reread(database, run)
    assert (run.status, run.error) == (RunStatus.completed, None)
    assert run.metrics == {"owner": "ann", "n": 1}


@asynccontextmanager
async def completion_held_back(url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Let nobody write down that a run is completed before the block ends."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(42)")
        await connection.execute(
            """
            CREATE FUNCTION hold_back() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
            CREATE TRIGGER hold_back BEFORE UPDATE ON eval_runs
            FOR EACH ROW WHEN (NEW.status = 'completed') EXECUTE FUNCTION hold_back()
            """
        )
        try:
            yield connection
        finally:
            await connection.execute("SELECT pg_advisory_unlock(42)")
            await connection.execute("DROP FUNCTION hold_back CASCADE")


async def test_a_run_that_fails_for_an_unforeseen_reason_says_which_and_logs_it(
    evaluations: Evaluations, database: Database, settings: Settings, owner: User
) -> None:
    (settings.data_folder / "evals").write_text("no folder")

    with capture_logs() as logs:
        run = await evaluations.start(owner, EvalRequest(evaluation="ask"))
        run = await until(database, run, RunStatus.interrupted, RunStatus.failed)

    assert run.status is RunStatus.failed
    (logged,) = [line for line in logs if line.get("run") == str(run.id)]
    assert logged["log_level"] == "error"
    assert isinstance(logged["exc_info"], OSError)
    assert run.error == f"{type(logged['exc_info']).__name__}: {logged['exc_info']}"


async def test_what_is_wrong_is_refused_before_anything_is_queued(
    evaluations: Evaluations, database: Database, owner: User
) -> None:
    with pytest.raises(NotFoundError, match="Did you mean `sleep`"):
        await evaluations.start(owner, EvalRequest(evaluation="slep"))
    with pytest.raises(InputError, match="expected int"):
        await evaluations.start(owner, EvalRequest(evaluation="ask", parameters={"n": "many"}))

    async with database.stores(owner.id) as stores:
        assert await stores.eval_runs.list() == []
