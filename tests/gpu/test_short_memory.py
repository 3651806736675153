"""A device that runs out of memory while answers are under way, and who else takes of it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lab.pipelines import run_pipeline
from lab.pipelines.devices import process_bytes
from lab.pipelines.load import load_chat
from lab.pipelines.room import Limits, Room
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task
from tests.gpu.test_memory import allocated, folder

__all__ = ["folder"]

pytestmark = pytest.mark.gpu

MARGIN_BYTES = 192 << 20
"""Left beside the weights: some of 32 long answers, not all."""


@pytest.fixture
def cuda(device: str) -> Iterator[str]:
    """Return the device, which may be taken whole again after the test."""
    if not device.startswith("cuda"):
        pytest.fail("These tests need CUDA, whose allocator can be given less.", pytrace=False)
    yield device
    torch.cuda.set_per_process_memory_fraction(1.0, torch.device(device))


async def test_answers_that_outgrow_the_device_end_all_the_same(cuda: str, folder: Path) -> None:
    learned: list[Limits] = []
    config = ChatConfig.model_validate({"model": str(folder), "device": cuda, "dtype": "bfloat16"})
    model = Model(id="middle", task=Task.chat, source=str(folder))
    chat = load_chat(model, config, room=Room(learn=learned.append))
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((allocated(cuda) + MARGIN_BYTES) / total, cuda)
    asked = GenerationParameters(max_new_tokens=1500, temperature=0)
    try:
        answers = await asyncio.gather(
            *(
                run_pipeline(chat, [ChatMessage(role=Role.user, content=f"ka mi {i}")], asked)
                for i in range(32)
            )
        )
    finally:
        chat.close()

    assert all(one.finish_reason in {FinishReason.stop, FinishReason.length} for one in answers)
    assert learned  # that fewer run at the same time


def test_what_another_process_takes_of_the_device_is_seen(cuda: str) -> None:
    program = (
        f"import torch; x = torch.zeros(1 << 28, device={cuda!r}); print('there', flush=True); "
        "input()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        seen = process_bytes(torch.device(cuda), process.pid)
        process.kill()

    assert 1 << 30 <= seen <= 3 << 30
