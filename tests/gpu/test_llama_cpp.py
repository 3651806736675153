"""Real llama.cpp under the lab, on a device; fails without a build of it for that device."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which

import psutil
import pytest

from benchmarks.gguf_file import save_gguf
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.role import Role
from tests.conformance.contract import HELLO, LAB_TINY

pytestmark = pytest.mark.gpu


@pytest.fixture
async def factory(device: str, tmp_path: Path) -> AsyncIterator[PipelineFactory]:
    server = which(os.environ.get("LAB_TEST_LLAMA_SERVER", "llama-server"))
    if server is None:
        pytest.fail("Set LAB_TEST_LLAMA_SERVER to llama.cpp's server.", pytrace=False)
    model = {
        "model": str(save_gguf(LAB_TINY, tmp_path / "tiny.gguf")),
        "device": "auto" if device == "cuda" else device,
    }
    config = LlamaCppConfig.model_validate({"command": [server], "models": [model]})
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), llama_cpp=config)
    yield factory
    await factory.aclose()


async def test_it_answers_from_the_device(factory: PipelineFactory, device: str) -> None:
    asked = [ChatMessage(role=Role.user, content="Hello.")]

    async with factory.chat("llama.cpp/tiny") as chat:
        answer = await run_pipeline(chat, asked, GenerationParameters(temperature=0))
        (resident,) = factory.residency().models
        commands = [one.cmdline() for one in psutil.Process().children(recursive=True)]

    assert answer.content == HELLO
    assert resident.device.startswith(device.partition(":")[0])
    (command,) = (one for one in commands if "--gpu-layers" in one and "-I" not in one)
    assert (command[command.index("--gpu-layers") + 1] == "0") == (device == "cpu")
