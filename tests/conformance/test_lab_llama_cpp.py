"""llama.cpp's server in processes of the lab's, on GGUF files of the same weights."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from benchmarks.gguf_file import save_gguf
from lab.pipelines import PipelineFactory, pipeline_factory
from lab.pipelines.served.chat import ServedChat
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.llama_cpp_config import LlamaCppConfig
from tests.conformance.contract import LAB_TINY, Engine, EngineContract

pytestmark = pytest.mark.llama_cpp


@pytest.fixture(scope="module")
async def factory(
    llama_server: str, endless_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PipelineFactory]:
    folder = tmp_path_factory.mktemp("gguf")
    models = [
        {
            "model": str(save_gguf(source, folder / f"{source.name}.gguf")),
            "name": source.name,
            "device": "cpu",
            "max_length": 16_384,
            "tokenizer": str(source),
            "arguments": ["--threads", "1"],
        }
        for source in (LAB_TINY, endless_folder)
    ]
    config = LlamaCppConfig.model_validate({"command": [llama_server], "models": models})
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), llama_cpp=config)
    yield factory
    await factory.aclose()


@pytest.fixture(scope="module")
async def engine(factory: PipelineFactory) -> AsyncIterator[Engine]:
    async with factory.chat(LAB_TINY.name) as tiny, factory.chat("endless") as endless:

        async def active() -> int:
            return cast("ServedChat", tiny).active + cast("ServedChat", endless).active

        yield Engine(tiny, endless, active=active, calls_at_once=False)


class TestLlamaCppOfTheLab(EngineContract):
    """Two processes of the lab's own."""

    async def test_its_memory_is_in_the_ledger(
        self, engine: Engine, factory: PipelineFactory
    ) -> None:
        report = factory.residency()

        assert {one.model for one in report.models} == {LAB_TINY.name, "endless"}
        assert all(one.taken_bytes > one.used_bytes > 1e6 for one in report.models)
        assert engine.chat.model.context_length == 1024


async def test_its_weights_are_memory_of_its_own(engine: Engine) -> None:
    chat = cast("ServedChat", engine.chat)
    (server,) = (
        below
        for one in psutil.Process().children()
        if chat.model.id in one.cmdline()
        for below in one.children()
    )
    mapped = [part.path for part in server.memory_maps()]

    assert not [path for path in mapped if path.endswith(".gguf")]
    assert server.memory_info().rss > chat.n_bytes


async def test_nothing_of_it_is_left(engine: Engine) -> None:
    chat = cast("ServedChat", engine.chat)
    guards = [one for one in psutil.Process().children() if chat.model.id in one.cmdline()]
    processes = [*guards, *(below for one in guards for below in one.children())]
    await asyncio.to_thread(chat.close)

    assert len(processes) == 2
    assert not [one for one in processes if one.is_running()]
    assert chat.n_bytes == 0
