"""Evaluations and schedules over HTTP, and the clock that asks for them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from api.identity import LocalIdentity
from api.main import create_app
from lab.config import load_settings
from lab.db import Database
from lab.evals.serving import serving
from lab.evals.starter import Starter
from lab.schemas.user import User
from tests.integration.test_evals_clock import Fired, ticking, until
from tests.integration.test_evals_service import SLEEP, write
from tests.ports import free_port

pytestmark = pytest.mark.integration

RECORD = "from lab.evals import record\n\nrecord({'double': 2 * n})"
NIGHTLY = {"name": "nightly", "cron": "30 2 * * *", "evaluation": "double"}


@pytest.fixture
async def app(database: Database, database_url: str, open_folder: Path) -> AsyncIterator[FastAPI]:
    for name, cell in (("double", RECORD), ("sleep", SLEEP)):
        write(open_folder / "notebooks" / "evals" / f"{name}.ipynb", cell)
    settings = load_settings(
        environ={
            "LAB_DATABASE_URL": database_url,
            "LAB_DATA_FOLDER": str(open_folder / "data"),
            "LAB_DATA_NOTEBOOKS_FOLDER": str(open_folder / "notebooks"),
        }
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI, database: Database, owner: User) -> AsyncIterator[httpx.AsyncClient]:
    app.state.identity = LocalIdentity(owner.name)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://lab", timeout=60
    ) as client:
        yield client


async def finished(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            run: dict[str, Any] = (await client.get(f"/v1/evals/runs/{run_id}")).json()
            if run["status"] not in ("queued", "running"):
                return run
            await asyncio.sleep(0.1)


async def test_a_run_from_request_to_page(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/evals")).json()
    assert [evaluation["name"] for evaluation in listed] == ["double", "sleep"]

    asked = await client.post(
        "/v1/evals/runs", json={"evaluation": "double", "parameters": {"n": 21}}
    )
    assert asked.status_code == 202
    run = await finished(client, asked.json()["id"])

    assert (run["status"], run["metrics"]) == ("completed", {"double": 42})
    assert [r["id"] for r in (await client.get("/v1/evals/runs")).json()] == [run["id"]]
    page = await client.get(f"/v1/evals/runs/{run['id']}/notebook")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("sandbox")
    notebook = await client.get(f"/v1/evals/runs/{run['id']}/notebook", params={"form": "ipynb"})
    assert notebook.json()["nbformat"] == 4


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("evals/runs", {"evaluation": "dubble"}, 404, "Did you mean `double`"),
        ("evals/runs", {"evaluation": "double", "parameters": {"m": 1}}, 400, "no parameter `m`"),
        ("evals/runs", {"evaluation": "double", "parameters": {"n": "x"}}, 400, "expected int"),
        ("evals/runs", {"evaluation": "double", "schedule_id": str(UUID(int=1))}, 404, "schedule"),
        ("schedules", NIGHTLY | {"cron": "at night"}, 400, "cron expression"),
        ("schedules", NIGHTLY | {"evaluation": "x"}, 404, "Unknown evaluation"),
        ("schedules", NIGHTLY | {"parameters": {"n": 1.5}}, 400, "expected int"),
    ],
)
async def test_what_is_wrong_is_refused_with_advice(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = await client.post(f"/v1/{path}", json=body)

    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


async def test_a_schedule_is_made_paused_changed_and_deleted(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/schedules", json=NIGHTLY)).json()
    url = f"/v1/schedules/{made['id']}"
    assert made["next_run_at"].endswith("02:30:00Z")

    paused = (await client.patch(url, json={"enabled": False})).json()
    moved = (await client.patch(url, json={"enabled": True, "cron": "0 4 * * *"})).json()
    again = await client.post("/v1/schedules", json=NIGHTLY)
    gone = await client.delete(url)

    assert (paused["enabled"], paused["next_run_at"]) == (False, None)
    assert moved["next_run_at"].endswith("04:00:00Z")
    assert again.status_code == 409
    assert gone.status_code == 204
    assert (await client.get("/v1/schedules")).json() == []


async def test_a_schedule_that_nothing_fires_says_so(
    client: httpx.AsyncClient, database: Database, database_url: str
) -> None:
    made = (await client.post("/v1/schedules", json=NIGHTLY)).json()
    url = f"/v1/schedules/{made['id']}"
    async with ticking(database, database_url, Fired()) as clock:
        await until(lambda: clock.ticks)
        fired = (await client.get(url)).json()
    (listed,) = (await client.get("/v1/schedules")).json()
    paused = (await client.patch(url, json={"enabled": False})).json()

    warning = "No scheduler is alive to start it; `lab up` runs one."
    assert [s["warning"] for s in (made, fired, listed, paused)] == [warning, None, warning, None]


async def test_nobody_sees_runs_and_schedules_of_others(
    app: FastAPI, client: httpx.AsyncClient, other_owner: User
) -> None:
    run = (await client.post("/v1/evals/runs", json={"evaluation": "sleep"})).json()
    schedule = (await client.post("/v1/schedules", json=NIGHTLY)).json()

    app.state.identity = LocalIdentity(other_owner.name)

    for path in (f"evals/runs/{run['id']}", f"schedules/{schedule['id']}"):
        assert (await client.get(f"/v1/{path}")).status_code == 404
    assert (await client.post(f"/v1/evals/runs/{run['id']}/cancel")).status_code == 404
    assert (await client.get("/v1/evals/runs")).json() == []


async def test_a_due_schedule_starts_a_run_in_the_name_of_its_owner(
    client: httpx.AsyncClient, database: Database, owner: User, other_owner: User, app: FastAPI
) -> None:
    schedule = (await client.post("/v1/schedules", json=NIGHTLY)).json()
    app.state.identity = create_app(app.state.settings).state.identity  # API keys, as served

    async with serving(app) as url:
        await Starter(database, url).start(owner.id, UUID(schedule["id"]))
    app.state.identity = LocalIdentity(owner.name)
    (run,) = (await client.get("/v1/evals/runs")).json()

    assert run["schedule_id"] == schedule["id"]
    assert (await finished(client, run["id"]))["metrics"] == {"double": 2}


async def test_a_schedule_that_cannot_start_leaves_a_failed_run(
    client: httpx.AsyncClient, database: Database, owner: User
) -> None:
    schedule = (await client.post("/v1/schedules", json=NIGHTLY)).json()
    nowhere = f"http://127.0.0.1:{free_port()}"

    await Starter(database, nowhere, patience_s=0.1).start(owner.id, UUID(schedule["id"]))

    (run,) = (await client.get("/v1/evals/runs")).json()
    assert run["status"] == "failed"
    assert "does not answer" in run["error"]
