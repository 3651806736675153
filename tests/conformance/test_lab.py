"""The lab's own batch."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.pipelines.chat import TransformersChat
from lab.pipelines.load import load_chat
from lab.schemas.chat_config import ChatConfig
from lab.schemas.model import Model
from lab.schemas.task import Task
from tests.conformance.contract import LAB_TINY, Engine, EngineContract


@pytest.fixture(scope="module")
async def engine(endless_folder: Path) -> AsyncIterator[Engine]:
    tiny, endless = loaded(LAB_TINY), loaded(endless_folder)

    async def active() -> int:
        return sum(chat.engine.stats.active for chat in (tiny, endless))

    yield Engine(tiny, endless, active=active)
    tiny.close()
    endless.close()


class TestLab(EngineContract):
    """In this process."""


def loaded(folder: Path) -> TransformersChat:
    model = Model(id=folder.name, task=Task.chat, source=str(folder))
    return load_chat(model, ChatConfig(model=str(folder), threads=1))
