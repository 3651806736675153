"""
Engines that answer chats.

endless_folder   a random Llama that never ends an answer, window 16,384
llama_server     path of llama.cpp's server: `scripts/llama-server` builds it, and says where it is;
                 LAB_TEST_LLAMA_SERVER names it, else the `PATH` is looked at; fails without it
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from lab.pipelines import pipeline_factory
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.remotes_config import RemotesConfig
from tests.conformance.contract import Engine
from tests.tiny_llama import save_tiny_llama


@pytest.fixture(scope="session")
def endless_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "endless", 16_384)


@pytest.fixture(scope="session")
def llama_server() -> str:
    found = which(os.environ.get("LAB_TEST_LLAMA_SERVER", "llama-server"))
    if found is None:
        pytest.fail(
            "These tests need llama.cpp's server: run `scripts/llama-server`, which builds it, and "
            "set LAB_TEST_LLAMA_SERVER to the path that it prints.",
            pytrace=False,
        )
    return found


@asynccontextmanager
async def engine_at(
    chat: dict[str, Any], endless: dict[str, Any], names: tuple[str, str], **engine: Any
) -> AsyncIterator[Engine]:
    """Lease the two models of two endpoints (or twice of one), and yield them as an engine."""
    endpoints = [{"name": "chat", **chat}, {"name": "endless", **endless}]
    remotes = RemotesConfig.model_validate({"endpoints": endpoints})
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), remotes=remotes)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(factory.aclose)
        tiny = await stack.enter_async_context(factory.chat(f"chat/{names[0]}"))
        random = await stack.enter_async_context(factory.chat(f"endless/{names[1]}"))
        yield Engine(tiny, random, **engine)
