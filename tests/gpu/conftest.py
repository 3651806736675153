"""What an accelerator is held to: the same weights on it and on the CPU."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from lab.pipelines.chat import TransformersChat
from lab.pipelines.devices import torch_device
from lab.pipelines.load import load_chat
from lab.schemas.chat_config import ChatConfig
from lab.schemas.model import Model
from lab.schemas.task import Task
from tests.unit.conftest import llama_folder

__all__ = ["llama_folder"]


def load(folder: Path, device: str) -> TransformersChat:
    """Return a chat pipeline on a device, in float32 wherever it is."""
    model = Model(id="tiny", task=Task.chat, source=str(folder))
    config = {"model": str(folder), "device": device, "dtype": "float32", "threads": 1}
    return load_chat(model, ChatConfig.model_validate(config))


@pytest.fixture(scope="session")
def device() -> str:
    """Return the accelerator; LAB_TEST_DEVICE names another, such as `cpu` to try these tests."""
    name = os.environ.get("LAB_TEST_DEVICE", "auto")
    place = torch_device(name)
    if name == "auto" and place.type == "cpu":
        pytest.fail("These tests need an accelerator, and torch finds none here.", pytrace=False)
    return str(place)


@pytest.fixture
async def there(llama_folder: Path, device: str) -> AsyncIterator[TransformersChat]:
    """Yield the chat on the accelerator."""
    chat = load(llama_folder, device)
    yield chat
    chat.close()


@pytest.fixture
async def here(llama_folder: Path) -> AsyncIterator[TransformersChat]:
    """Yield the chat on the CPU."""
    chat = load(llama_folder, "cpu")
    yield chat
    chat.close()


@pytest.fixture
def exact() -> None:
    """Multiply matrices in full float32, as the CPU does."""
    torch.set_float32_matmul_precision("highest")
