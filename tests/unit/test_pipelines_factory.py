import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.errors import InputError, ModelLoadError, UnknownModelError
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.catalog import Catalog
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task


@pytest.fixture
async def factory(llama_folder: Path) -> AsyncIterator[PipelineFactory]:
    factory = pipeline_factory(ChatConfig(model=str(llama_folder), threads=1), EmbeddingConfig())
    yield factory
    await factory.aclose()


async def test_two_leases_at_once_load_once_and_run(factory: PipelineFactory) -> None:
    async with factory.chat("default") as first, factory.chat("tiny-llama") as second:
        assert first is second
        assert factory.stats().leases == 2
        assert factory.stats().models_loaded == 1
        hello = [ChatMessage(role=Role.user, content="x")]
        await run_pipeline(first, hello, GenerationParameters(max_new_tokens=3))
        assert factory.stats().generated_tokens == 3
    assert factory.stats().leases == 0


async def test_a_loaded_model_says_so(factory: PipelineFactory) -> None:
    async with factory.chat("tiny-llama"):
        loaded = {model.id: model.loaded for model in factory.models()}

    assert loaded["tiny-llama"]
    assert not loaded["lab-tiny"]


async def test_models_that_load_at_once_all_get_their_weights(llama_folder: Path) -> None:
    config = ChatConfig(model=str(llama_folder), threads=1)
    factories = [pipeline_factory(config, EmbeddingConfig()) for _ in range(6)]
    hello = [ChatMessage(role=Role.user, content="x")]

    async def embed(one: PipelineFactory) -> int:
        async with one.embedding() as embedding:
            return len(await embedding.embed(["A dog."]))

    async def answer(one: PipelineFactory) -> int:
        async with one.chat("default") as chat:
            await run_pipeline(chat, hello, GenerationParameters(max_new_tokens=3))
            return one.stats().generated_tokens

    try:
        found = await asyncio.gather(*map(embed, factories), *map(answer, factories))
    finally:
        await asyncio.gather(*(one.aclose() for one in factories))
    assert found == [1] * 6 + [3] * 6


async def test_an_unknown_model_is_refused_with_the_nearest_names(
    factory: PipelineFactory,
) -> None:
    with pytest.raises(UnknownModelError, match="Did you mean `lab-tiny`"):
        async with factory.chat("lab-tinny"):
            pass


def test_profiles_are_the_default_and_one_for_each_chat_model(factory: PipelineFactory) -> None:
    profiles = {profile.id: profile for profile in factory.profiles()}

    assert set(profiles) == {"default", "lab-tiny", "tiny-llama"}
    assert profiles["default"].model == "tiny-llama"
    assert profiles["default"].system_prompt
    assert profiles["lab-tiny"].system_prompt is None


def test_an_embedding_model_cannot_chat(factory: PipelineFactory) -> None:
    with pytest.raises(InputError, match="makes embeddings"):
        factory.resolve("all-MiniLM-L6-v2")


def test_a_folder_is_known_by_its_name_and_tells_its_window(factory: PipelineFactory) -> None:
    models = {model.id: model for model in factory.models()}

    assert models["tiny-llama"].context_length == 256
    assert models["lab-tiny"].is_demo
    assert models["all-MiniLM-L6-v2"].dim == 384


async def test_a_hub_id_that_cannot_be_downloaded_says_what_to_do() -> None:
    chat = ChatConfig(model="no id of the hub!")

    with pytest.raises(ModelLoadError, match=r"folder.*network.*HF_TOKEN"):
        async with pipeline_factory(chat, EmbeddingConfig()).chat("no id of the hub!"):
            pass


async def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    chat = ChatConfig(model=str(tmp_path))

    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        async with pipeline_factory(chat, EmbeddingConfig()).chat(tmp_path.name):
            pass


@pytest.mark.parametrize(("set_", "known"), [(None, "abc"), ("v1", "v1")])
def test_a_pin_holds_for_a_model_of_the_settings_unless_they_pin_it(
    set_: str | None, known: str
) -> None:
    catalog = Catalog(
        ChatConfig(model="acme/tiny", revision=set_), EmbeddingConfig(model="acme/encoder")
    )
    pins = (("acme/tiny", Task.chat), ("acme/encoder", Task.embedding))

    for name, task in pins:
        catalog.add(Model(id=name, task=task, source=name, revision="abc"))

    assert catalog.chat.revision == known
    # Memories are of one embedding model, whose revision is a setting.
    assert catalog.embedding.revision is None
    # Another model of that name is not taken for the one of the settings.
    assert catalog.add(Model(id="acme/tiny", task=Task.chat, source="x")).source == "acme/tiny"


def test_importing_pipelines_imports_no_torch() -> None:
    code = "import sys, lab.pipelines; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
