"""Real vLLM under the lab, on a device; fails where vLLM is not installed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import psutil
import pytest

from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.served.chat import ServedChat
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.role import Role
from lab.schemas.vllm_config import VllmConfig
from tests.conformance.contract import LAB_TINY, Engine, EngineContract
from tests.tiny_llama import save_tiny_llama

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]

MEMORY_GB = 4.0


@pytest.fixture(scope="module")
async def factory(
    device: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PipelineFactory]:
    endless = save_tiny_llama(tmp_path_factory.mktemp("models") / "endless", 16_384)
    tools = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    common: dict[str, Any] = {
        "memory_gb": MEMORY_GB,
        "device": "auto" if device == "cuda" else device,
        "dtype": "float32",
        "arguments": ["--enforce-eager", *tools],
    }
    thinks = {"arguments": [*common["arguments"], "--reasoning-parser", "qwen3"]}
    models = [
        common | thinks | {"model": str(LAB_TINY), "name": "vllm/tiny"},
        common | {"model": str(endless), "name": "vllm/endless"},
    ]
    config = VllmConfig.model_validate({"models": models, "start_timeout_s": 600})
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), vllm=config)
    yield factory
    await factory.aclose()


@pytest.fixture(scope="module")
async def engine(factory: PipelineFactory) -> AsyncIterator[Engine]:
    async with factory.chat("vllm/tiny") as tiny, factory.chat("vllm/endless") as endless:

        async def active() -> int:
            return cast("ServedChat", tiny).active + cast("ServedChat", endless).active

        yield Engine(tiny, endless, active=active)


class TestVllm(EngineContract):
    """Two processes of vLLM beside each other on one device."""

    async def test_its_memory_is_in_the_ledger(
        self, engine: Engine, factory: PipelineFactory
    ) -> None:
        report = factory.residency()

        assert [one.taken_bytes for one in report.models] == [MEMORY_GB * 1e9] * 2
        assert engine.chat.model.context_length == 1024


async def test_nothing_of_it_is_left(engine: Engine, factory: PipelineFactory) -> None:
    chat = cast("ServedChat", engine.chat)
    guards = [one for one in psutil.Process().children() if chat.model.id in one.cmdline()]
    processes = [*guards, *(below for one in guards for below in one.children(recursive=True))]
    await asyncio.to_thread(chat.close)

    assert len(processes) > 1
    assert not [one for one in processes if one.is_running()]
    assert chat.n_bytes == 0


async def test_a_draft_model_changes_no_greedy_answer(device: str) -> None:
    """It proposes what it would say itself, so that every token is as without it."""
    one = {
        "model": str(LAB_TINY),
        "memory_gb": MEMORY_GB,
        "device": "auto" if device == "cuda" else device,
        "dtype": "float32",
        "arguments": ["--enforce-eager"],
    }
    models = [
        one | {"name": "vllm/plain"},
        one | {"name": "vllm/drafted", "draft_model": str(LAB_TINY), "draft_tokens": 3},
    ]
    config = VllmConfig.model_validate({"models": models, "start_timeout_s": 600})
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), vllm=config)
    said = [ChatMessage(role=Role.user, content="My dog is called Zamiko.")]
    parameters = GenerationParameters(temperature=0, max_new_tokens=24)
    try:
        async with factory.chat("vllm/plain") as plain, factory.chat("vllm/drafted") as drafted:
            answers = [
                (await run_pipeline(chat, said, parameters)).content for chat in (plain, drafted)
            ]
    finally:
        await factory.aclose()

    assert answers[0]
    assert answers[0] == answers[1]
