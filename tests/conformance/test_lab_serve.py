"""Another lab's API, reached as any server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.db import Database
from lab.schemas.database_config import DatabaseConfig
from tests.api_server import key_of, running_api
from tests.conformance.conftest import engine_at
from tests.conformance.contract import LAB_TINY, Engine, EngineContract

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
async def key(database_url: str) -> str:
    """A key of the other lab."""
    async with Database(DatabaseConfig(), database_url) as database:
        async with database.accounts() as accounts:
            user = await accounts.get_or_create("other-lab")
        return await key_of(database, user)


@pytest.fixture(scope="module")
async def engine(
    database_url: str, key: str, endless_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path_factory.mktemp("other")),
        "LAB_CHAT_MODELS": str(endless_folder),
    }
    async with running_api(database_url, **variables) as api:
        server = {"url": f"{api.url}/v1", "kind": "lab", "key": key}
        names = "lab-tiny", endless_folder.name
        folders = LAB_TINY, endless_folder
        tiny, endless = (server | {"tokenizer": str(folder)} for folder in folders)

        async def active() -> int:
            return api.load().active_streams

        async with engine_at(tiny, endless, names, active=active) as engine:
            yield engine


class TestLabServe(EngineContract):
    """Its models and their windows as it lists them."""
