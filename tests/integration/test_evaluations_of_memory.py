"""The evaluations of memory, run as a person runs them, on small parameters."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.main import create_app
from lab.client import Lab, connect
from lab.config import load_settings
from lab.db import Database
from lab.evals.serving import serving
from lab.schemas.eval_run import EvalRun
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.notebooks.conftest import FOLDER

pytestmark = pytest.mark.integration

LOCOMO = [
    {
        "conversation": {
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ann", "dia_id": "D1:1", "text": "I sold the boat to Eve."},
                {"speaker": "Bob", "dia_id": "D1:2", "text": "It rains all day long here."},
                {"speaker": "Ann", "dia_id": "D1:3", "text": "My sister moved to Oslo."},
            ],
        },
        "qa": [
            {"question": "Who bought Ann's boat?", "category": 4, "evidence": ["D1:1"]},
            {"question": "Where does Ann's sister live?", "category": 4, "evidence": ["D1:3"]},
            {"question": "What did Ann tell?", "category": 1, "evidence": ["D1:1", "D1:3"]},
        ],
    }
]


@pytest.fixture
async def lab(
    database_url: str, database: Database, owner: User, open_folder: Path
) -> AsyncIterator[Lab]:
    shutil.copytree(FOLDER / "evals", open_folder / "notebooks" / "evals")
    environ = {
        "LAB_DATABASE_URL": database_url,
        "LAB_DATA_FOLDER": str(open_folder / "data"),
        "LAB_DATA_NOTEBOOKS_FOLDER": str(open_folder / "notebooks"),
    }
    app = create_app(load_settings(environ=environ))
    async with database.stores(owner.id) as stores:
        _, key = await stores.api_keys.create(
            "test", [Scope.custom_lab_infer, Scope.custom_lab_memory]
        )
    async with (
        app.router.lifespan_context(app),
        serving(app) as url,
        connect(url, key) as lab,
    ):
        yield lab


async def measured(lab: Lab, evaluation: str, **parameters: Any) -> EvalRun:
    run = await lab.evals.run(evaluation, **parameters)
    async with asyncio.timeout(200):
        while run.finished_at is None:
            await asyncio.sleep(0.1)
            run = await lab.evals.get(run.id)
    return run


async def test_retrieval_is_measured_on_a_file_in_locomos_format(
    lab: Lab, open_folder: Path
) -> None:
    data = open_folder / "dialogues.json"
    data.write_text(json.dumps(LOCOMO))

    run = await measured(lab, "retrieval", data=str(data), budgets=[45, 512])

    assert run.error is None
    assert (run.metrics["n_dialogues"], run.metrics["n_turns"]) == (1, 3)
    assert (run.metrics["n_questions"], run.metrics["one_turn_n"]) == (3, 2)
    assert run.metrics["recall_in_512_tokens"] == 1
    assert 0 < run.metrics["recall_in_45_tokens"] < 1
    assert run.metrics["all_evidence_in_45_tokens"] < run.metrics["recall_in_45_tokens"]
    assert run.metrics["recall_at_10"] == 1
    assert run.metrics["one_turn_mrr"] == 1
    assert run.metrics["recall_in_512_tokens_low"] < 1
    assert await lab.conversations.list() == []


async def test_retrieval_says_which_file_it_cannot_read(lab: Lab, open_folder: Path) -> None:
    run = await measured(lab, "retrieval", data=str(open_folder / "nowhere.json"))

    assert run.error is not None
    assert "Cannot read" in run.error
    assert "nowhere.json" in run.error


async def test_long_memory_measures_changes_and_what_was_never_told(lab: Lab) -> None:
    run = await measured(lab, "long_memory", times_window=1.6, n_facts=8, n_updates=3, n_unknown=3)

    assert run.error is None
    assert run.metrics["n_unknown"] == 3
    assert run.metrics["accuracy_with_memory"] > run.metrics["accuracy_without_memory"]
    assert run.metrics["unknown_without_memory_low"] <= run.metrics["unknown_without_memory"]
    assert await lab.conversations.list() == []
