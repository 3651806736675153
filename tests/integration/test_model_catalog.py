"""Models that come and go while the lab runs."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lab.cli import main
from lab.client import Lab, connect
from lab.config import load_settings
from lab.db import Database
from lab.errors import (
    ConflictError,
    InputError,
    PermissionDeniedError,
    UnknownModelError,
)
from lab.pipelines.catalog import minilm_folder
from lab.runtime import open_runtime
from lab.schemas.scope import Scope
from lab.schemas.task import Task
from lab.schemas.user import User
from tests.api_server import USER_SCOPES, Api, key_of, running_api
from tests.tiny_llama import save_tiny_llama
from tests.tiny_vision import save_llava

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama that nobody named yet."""
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "tiny", 512)


@pytest.fixture(scope="module")
async def catalog_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("catalog")
    named = save_tiny_llama(folder / "named", 256)
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_CHAT_MODELS": json.dumps([str(named)]),
        "LAB_CHAT_PROFILES": json.dumps([{"id": "brief", "model": "named"}]),
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(catalog_app: Api, database: Database) -> AsyncIterator[Api]:
    yield catalog_app
    await catalog_app.until_idle()
    catalog = catalog_app.app.state.runtime.models
    for model in catalog_app.app.state.runtime.pipelines.models():
        if model.id not in {"lab-tiny", "named", "all-MiniLM-L6-v2"}:
            await catalog.remove(model.id)


@pytest.fixture
async def lab(api: Api, database: Database, owner: User) -> AsyncIterator[Lab]:
    """The client of an administrator."""
    key = await key_of(database, owner, [*USER_SCOPES, Scope.custom_lab_admin])
    async with connect(api.url, key) as lab:
        yield lab


async def test_an_added_model_answers_at_once_and_after_a_restart(
    lab: Lab, tiny: Path, database_url: str, tmp_path: Path
) -> None:
    card = await lab.catalog.add(str(tiny), description="Random.")
    answer = await lab.chat("Hello.", model="tiny", max_new_tokens=3)
    listed = {one.id: one for one in await lab.models()}
    environ = {"LAB_DATABASE_URL": database_url, "LAB_DATA_FOLDER": str(tmp_path)}
    async with open_runtime(load_settings(None, environ)) as other:
        known = {model.id: model for model in other.pipelines.models()}

    assert (card.task, card.context_length, card.hub_id) == (Task.chat, 512, None)
    assert card.size_bytes == sum(file.stat().st_size for file in tiny.iterdir())
    assert (card.tools, card.thinking, card.loaded) == (True, True, False)
    assert answer.usage.completion_tokens == 3
    assert listed["tiny"].loaded
    assert (known["tiny"].source, known["tiny"].description) == (str(tiny), "Random.")


async def test_a_model_that_sees_is_added(lab: Lab, tmp_path: Path) -> None:
    card = await lab.catalog.add(str(save_llava(tmp_path / "llava")))
    await lab.catalog.remove("llava")

    assert (card.task, card.vision) == (Task.chat, True)


async def test_a_removed_model_is_gone_at_once_and_after_a_restart(
    api: Api, lab: Lab, tiny: Path, database_url: str, tmp_path: Path
) -> None:
    await lab.catalog.add(str(tiny), name="mine")
    await lab.chat("Hello.", model="mine", max_new_tokens=2)

    await lab.catalog.remove("mine")

    with pytest.raises(UnknownModelError):
        await lab.chat("Hello.", model="mine")
    with pytest.raises(UnknownModelError):
        await lab.catalog.remove("mine")
    assert "mine" not in {one.model for one in (await lab.residents.report()).models}
    environ = {"LAB_DATABASE_URL": database_url, "LAB_DATA_FOLDER": str(tmp_path)}
    async with open_runtime(load_settings(None, environ)) as other:
        assert "mine" not in {model.id for model in other.pipelines.models()}
    assert (tiny / "config.json").is_file()


async def test_what_is_used_or_named_by_the_settings_stays(api: Api, lab: Lab, tiny: Path) -> None:
    await lab.catalog.add(str(tiny))
    async with api.app.state.runtime.pipelines.chat("tiny"):
        with pytest.raises(ConflictError, match=r"while it is used: .*1 leases"):
            await lab.catalog.remove("tiny")
    await lab.chat("Hello.", model="tiny", max_new_tokens=2)

    for name in ("named", "lab-tiny", "all-MiniLM-L6-v2"):
        with pytest.raises(ConflictError, match="named by its settings"):
            await lab.catalog.remove(name)


async def test_a_profile_on_a_removed_model_says_so(lab: Lab, tiny: Path) -> None:
    await lab.catalog.add(str(tiny))
    await lab.profiles.add("mine", "tiny")
    await lab.catalog.remove("tiny")

    with pytest.raises(UnknownModelError, match="`mine` cannot be used: Unknown model `tiny`"):
        await lab.chat("Hello.", model="mine")


@pytest.mark.parametrize("name", ["lab-tiny", "brief", "default", "all-MiniLM-L6-v2"])
async def test_a_name_that_is_taken_is_refused(lab: Lab, tiny: Path, name: str) -> None:
    with pytest.raises(ConflictError, match=f"`{name}` is a model or profile of the lab already"):
        await lab.catalog.add(str(tiny), name=name)


async def test_of_two_that_add_at_once_one_is_told(lab: Lab, tiny: Path) -> None:
    found = await asyncio.gather(
        *(lab.catalog.add(str(tiny)) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(one, ConflictError) for one in found) == 3


async def test_only_administrators_change_the_catalog(api: Api, ann: str, tiny: Path) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(PermissionDeniedError):
            await lab.catalog.add(str(tiny))
        with pytest.raises(PermissionDeniedError):
            await lab.catalog.remove("named")
        with pytest.raises(PermissionDeniedError):
            await lab.catalog.pin("named", "0" * 40)


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def with_config(**values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def corrupt(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 5000)


def with_odd_tensors(folder: Path) -> None:
    """Give the weights a number format that no release of safetensors had."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"F99"', 1))


def in_pieces(folder: Path) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": "model.safetensors", "more": "b"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def unreadable(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("config.json"), r"no readable config\.json"),
        (unreadable, r"no readable config\.json"),
        (without("chat_template.jinja"), "has no chat template, so it cannot chat"),
        (without("model.safetensors"), r"has no weights in .*\*\.safetensors"),
        (truncated, r"damaged file model\.safetensors: .*truncated"),
        (corrupt, r"damaged file model\.safetensors"),
        (with_odd_tensors, r"model\.safetensors"),
        (in_pieces, "lacks 1 tensors .* such as `more`"),
        (with_config(dtype="float99"), r"unknown dtype 'float99'.*Did you mean `float"),
        (with_config(architectures=["BertModel"]), "no causal language model .*BertModel"),
        (with_config(architectures=None), "no causal language model .*no architecture"),
    ],
)
async def test_a_model_that_the_lab_cannot_run_is_refused_and_nothing_is_kept(
    api: Api, lab: Lab, tiny: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "spoilt"))
    spoil(folder)
    loaded = api.load().models_loaded

    with pytest.raises(InputError, match=said):
        await lab.catalog.add(str(folder))

    assert "spoilt" not in {card.id for card in await lab.models()}
    assert api.load().models_loaded == loaded
    async with api.app.state.runtime.database.models() as models:
        assert await models.list() == []


async def test_tasks_with_one_model_say_which_setting_names_it(lab: Lab, tiny: Path) -> None:
    with pytest.raises(InputError, match=r"one model that makes pictures.*LAB_IMAGE_MODEL"):
        await lab.catalog.add(str(tiny), task=Task.image)
    with pytest.raises(InputError, match=r"one model that reranks.*LAB_RERANK_MODEL"):
        await lab.catalog.add(str(tiny), task=Task.rerank)


async def test_what_is_no_folder_and_no_sentence_model_is_refused(lab: Lab, tiny: Path) -> None:
    with pytest.raises(InputError, match="is no folder on the lab's machine"):
        await lab.catalog.add("/nowhere/at-all")
    with pytest.raises(InputError, match="is no folder on the lab's machine"):
        await lab.catalog.add("/" + "long" * 200)
    with pytest.raises(InputError, match=r"x\.gguf is a file in GGUF.*LAB_CHAT_MODEL"):
        await lab.catalog.add("/models/x.gguf")
    with pytest.raises(InputError, match="no Hugging Face id"):
        await lab.catalog.add("../" * 50, name="x")
    with pytest.raises(InputError, match="A model or profile cannot be called ''"):
        await lab.catalog.add("/")
    with pytest.raises(InputError, match="no model of sentence-transformers"):
        await lab.catalog.add(str(tiny), task=Task.embedding)
    with pytest.raises(InputError, match="no causal language model"):
        await lab.catalog.add(str(minilm_folder()), name="encoder")
    with pytest.raises(InputError, match="cannot be called"):
        await lab.catalog.add(str(tiny), name="a\nb")
    with pytest.raises(InputError, match="A folder has no revisions"):
        await lab.catalog.add(str(tiny), revision="main")
    with pytest.raises(InputError, match="comes from a folder"):
        await lab.catalog.pin("lab-tiny", "0" * 40)

    card = await lab.catalog.add(str(minilm_folder()), name="encoder", task=Task.embedding)

    assert (card.task, card.dim) == (Task.embedding, 384)
    with pytest.raises(InputError, match="makes embeddings"):
        await lab.chat("Hello.", model="encoder")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
async def test_the_commands_make_models_of_others_that_answer(
    api: Api, lab: Lab, database: Database, owner: User, tiny: Path, tmp_path: Path
) -> None:
    key = await key_of(database, owner, [*USER_SCOPES, Scope.custom_lab_admin])
    env = {"LAB_API_URL": api.url, "LAB_API_KEY": key, "COLUMNS": "250"}
    network = AutoModelForCausalLM.from_pretrained(tiny)
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(network, config).save_pretrained(str(tmp_path / "adapter"))

    async def run(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner(env=env).invoke, main, ("models", *arguments))
        assert result.exit_code == code, result.output
        return result.output

    await run("add", str(tiny))
    merged = await run("merge-lora", "tiny", str(tmp_path / "adapter"), str(tmp_path / "merged"))
    await run("quantize", "tiny", "nf4", str(tmp_path / "small"))
    again = await run("quantize", "tiny", "nf4", str(tmp_path / "small"), code=1)
    kind = await run("quantize", "all-MiniLM-L6-v2", "nf4", str(tmp_path / "x"), code=1)
    for name in ("merged", "small"):
        await run("add", str(tmp_path / name))
        answer = await lab.chat("Hello.", model=name, max_new_tokens=3)
        assert answer.usage.completion_tokens == 3

    assert f"lab models add {tmp_path / 'merged'}" in merged
    assert "exists; name another folder" in again
    assert "no causal language model" in kind
    # A new adapter changes nothing, so a model that it is merged into says the same.
    first, same = [
        await lab.chat("Hello.", model=name, max_new_tokens=8, seed=1)
        for name in ("tiny", "merged")
    ]
    assert first.text == same.text


async def test_the_commands_add_list_and_remove(
    api: Api, lab: Lab, database: Database, owner: User, tiny: Path
) -> None:
    key = await key_of(database, owner, [*USER_SCOPES, Scope.custom_lab_admin])
    env = {"LAB_API_URL": api.url, "LAB_API_KEY": key, "COLUMNS": "250"}

    async def run(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner(env=env).invoke, main, arguments)
        assert result.exit_code == code, result.output
        return result.output

    added = await run("models", "add", str(tiny), "--name", "mine", "--description", "Random.")
    listed = await run("models", "list")
    again = await run("models", "add", str(tiny), "--name", "mine", code=1)
    removed = await run("models", "remove", "mine")
    refused = await run("models", "remove", "named", code=1)

    (line,) = [line for line in listed.splitlines() if line.startswith("mine")]
    assert line.split()[:4] == ["mine", "mine", "chat", "512"]
    assert line.split()[4:] == ["0.6", "MB", "no", "Random."]
    assert "lab chat -m mine" in added
    assert "is a model or profile of the lab already" in again
    assert "its files were left" in removed
    assert "named by its settings" in refused
