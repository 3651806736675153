"""
The API on a real port for tests: real server, real database, the bundled model.

`tests/conftest.py` gives these fixtures to every test; one server of each serves all of a run.

api          a server with an empty database; yields its address
endless_api  the same, with a default model that never ends an answer
ann, bob     API keys of two users, with every scope but administration
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.main import create_app
from lab.config import load_settings
from lab.db import Database
from lab.evals.serving import serving
from lab.pipelines.stats import PipelineStats
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.tiny_llama import UNGUARDED, save_tiny_llama

__all__ = ["Api", "ann", "api", "api_app", "bob", "endless_api", "endless_api_app"]

USER_SCOPES = (Scope.custom_lab_infer, Scope.custom_lab_memory)


@dataclass(frozen=True)
class Api:
    """A running API."""

    url: str
    app: FastAPI

    def client(self, key: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def load(self) -> PipelineStats:
        stats: PipelineStats = self.app.state.runtime.pipelines.stats()
        return stats

    async def until_idle(self) -> None:
        """Wait until no answer is generated and none waits."""
        async with asyncio.timeout(10):
            while (load := self.load()).active_streams or load.queued:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_api(database_url: str, **variables: str) -> AsyncIterator[Api]:
    environ = {"LAB_DATABASE_URL": database_url, "LAB_CHAT_THREADS": "1", **variables}
    app = create_app(load_settings(None, environ), quiet=True)
    async with app.router.lifespan_context(app), serving(app) as url:
        yield Api(url, app)


@pytest.fixture(scope="module")
async def api_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    async with running_api(database_url, LAB_DATA_FOLDER=str(folder)) as api:
        yield api


@pytest.fixture
async def api(api_app: Api, database: Database) -> AsyncIterator[Api]:
    yield api_app
    await api_app.until_idle()


@pytest.fixture(scope="module")
async def endless_api_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("endless")
    model = save_tiny_llama(folder / "model", 16_384)
    variables = {"LAB_DATA_FOLDER": str(folder / "data"), "LAB_CHAT_MODEL": str(model)}
    async with running_api(database_url, **variables, **UNGUARDED) as api:
        yield api


@pytest.fixture
async def endless_api(endless_api_app: Api, database: Database) -> AsyncIterator[Api]:
    yield endless_api_app
    await endless_api_app.until_idle()


@pytest.fixture
async def ann(database: Database, owner: User) -> str:
    return await key_of(database, owner)


@pytest.fixture
async def bob(database: Database, other_owner: User) -> str:
    return await key_of(database, other_owner)


async def key_of(database: Database, user: User, scopes: Sequence[Scope] = USER_SCOPES) -> str:
    async with database.stores(user.id) as stores:
        _, secret = await stores.api_keys.create("test", list(scopes))
    return secret


def hello(text: str = "Hello.", **options: Any) -> dict[str, Any]:
    """Return the body of a chat completion request."""
    asked = {"role": "user", "content": text}
    return {"model": "lab-tiny", "messages": [asked], "max_tokens": 12, "seed": 1, **options}
