"""
Models in GGUF under llama.cpp: what is told of them and refused before anything starts.

With the real server: tests/conformance/test_lab_llama_cpp.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from gguf import GGUFWriter
from typer.testing import CliRunner

from benchmarks.gguf_file import save_gguf
from lab.cli import main
from lab.errors import ConfigError, ModelLoadError, NoRoomError
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.description import size_on_disk
from lab.pipelines.llama_cpp.gguf_file import gguf_bytes, read_gguf
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.engine import Engine
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.role import Role
from lab.schemas.vllm_config import VllmConfig

STAND_IN = Path(__file__).parents[1] / "served_stand_in.py"


@pytest.fixture(scope="module")
def file(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in GGUF: 2 layers, 2 heads of keys of 16 values each, window 256."""
    return save_gguf(llama_folder, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def factory_of(file: Path, memory_gb: float | None = None, **settings: Any) -> PipelineFactory:
    config = LlamaCppConfig.model_validate(
        {
            "command": settings.pop("command", [sys.executable, "-S", str(STAND_IN)]),
            "models": [{"model": str(file), "device": "cpu"} | settings],
        }
    )
    residency = ResidencyConfig(memory_gb=memory_gb)
    return pipeline_factory(ChatConfig(), EmbeddingConfig(), residency, llama_cpp=config)


async def argv_of(factory: PipelineFactory, name: str) -> list[str]:
    """Return the arguments that the server of a model was started with."""
    asked = [ChatMessage(role=Role.user, content="Hello.")]
    async with factory.chat(name) as chat:
        answer = await run_pipeline(chat, asked, GenerationParameters())
    argv: list[str] = json.loads(answer.content)["argv"]
    return argv


def test_its_file_tells_what_it_needs(file: Path) -> None:
    told = read_gguf(file)

    assert gguf_bytes(file) == file.stat().st_size
    assert told.context_length == 256
    assert told.token_bytes == 2 * 2 * (16 + 16) * 2


async def test_it_is_started_with_what_the_settings_say(file: Path) -> None:
    factory = factory_of(file, streams=3, max_length=100, arguments=["--threads", "1"])
    try:
        (model,) = (one for one in factory.models() if one.engine is Engine.llama_cpp)
        argv = await argv_of(factory, model.id)
        (resident,) = factory.residency().models
    finally:
        await factory.aclose()

    given = dict(zip(argv[0:-3:2], argv[1:-3:2], strict=True))
    assert model.id == "llama.cpp/tiny"
    assert given["--model"] == str(file)
    assert given["--ctx-size"] == "300"  # each of three answers has the whole window
    assert given["--parallel"] == "3"
    assert given["--host"] == "127.0.0.1"
    assert given["--gpu-layers"] == "0"
    assert argv[-3:] == ["--jinja", "--threads", "1"]
    told = read_gguf(file)
    assert resident.used_bytes == gguf_bytes(file) + 300 * told.token_bytes
    assert resident.taken_bytes > resident.used_bytes


async def test_the_chat_model_of_the_settings_may_be_a_file(file: Path) -> None:
    command = [sys.executable, "-S", str(STAND_IN)]
    config = LlamaCppConfig.model_validate({"command": command})
    factory = pipeline_factory(ChatConfig(model=str(file)), EmbeddingConfig(), llama_cpp=config)
    try:
        argv = await argv_of(factory, "default")
        models = [one.id for one in factory.models() if one.engine is Engine.llama_cpp]
    finally:
        await factory.aclose()

    assert argv[argv.index("--model") + 1] == str(file)
    assert models == ["llama.cpp/tiny"]


@pytest.mark.parametrize("name", ["My model (1)", "Modèle é", "m" * 100])
async def test_it_may_be_called_anything(file: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / f"{name}.gguf"
    copy.write_bytes(file.read_bytes())
    factory = factory_of(copy)
    try:
        argv = await argv_of(factory, f"llama.cpp/{name}")
    finally:
        await factory.aclose()

    assert argv[argv.index("--alias") + 1] == f"llama.cpp/{name}"
    children = psutil.Process().children(recursive=True)
    assert not [one for one in children if str(copy) in one.cmdline()]


async def test_a_file_is_one_model_however_it_is_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    named = [f"~/{file.name}", str(file), str(file.parent / ".." / file.parent.name / file.name)]
    config = LlamaCppConfig.model_validate({"models": [{"model": named[0], "name": "tiny"}]})

    factory = pipeline_factory(
        ChatConfig(model=named[1], models=named), EmbeddingConfig(), llama_cpp=config
    )

    (model,) = (one for one in factory.models() if one.engine is Engine.llama_cpp)
    assert (model.id, model.source) == ("tiny", str(file))
    assert factory.resolve("default").model == "tiny"
    await factory.aclose()


async def test_its_file_tells_the_catalog_before_anything_runs(file: Path) -> None:
    factory = factory_of(file, max_length=100)
    try:
        (model,) = (one for one in factory.models() if one.engine is Engine.llama_cpp)
    finally:
        await factory.aclose()

    assert model.context_length == 100
    assert size_on_disk(model) == file.stat().st_size


async def test_its_window_is_no_longer_than_it_was_trained_for(file: Path) -> None:
    factory = factory_of(file)
    try:
        async with factory.chat("llama.cpp/tiny") as chat:
            assert chat.model.context_length == 256
    finally:
        await factory.aclose()


async def test_what_does_not_fit_is_refused_before_it_is_started(file: Path) -> None:
    factory = factory_of(file, memory_gb=0.001)
    try:
        with pytest.raises(NoRoomError, match=r"does not fit.*4 answers of 256 tokens.*`streams`"):
            await factory.load("llama.cpp/tiny")
    finally:
        await factory.aclose()


async def test_a_device_that_is_not_there_is_told(file: Path) -> None:
    factory = factory_of(file, device="cuda:7")
    try:
        with pytest.raises(ModelLoadError, match="there is no device `cuda:7` here"):
            await factory.load("llama.cpp/tiny")
    finally:
        await factory.aclose()


async def test_where_there_is_no_llama_cpp_the_error_says_how_to_get_it(file: Path) -> None:
    factory = factory_of(file, command=["llama-server-that-is-not-here"])
    try:
        with pytest.raises(ModelLoadError, match=r"needs llama\.cpp's server.*LAB_LLAMA_CPP_COMM"):
            await factory.load("llama.cpp/tiny")
    finally:
        await factory.aclose()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"none\.gguf cannot be read: No such file"):
        read_gguf(tmp_path / "none.gguf")


def test_a_part_that_is_missing_is_told(file: Path, tmp_path: Path) -> None:
    first = tmp_path / "big-00001-of-00002.gguf"
    first.write_bytes(file.read_bytes())

    with pytest.raises(ModelLoadError, match=r"big-00002-of-00002\.gguf cannot be read"):
        gguf_bytes(first)


@pytest.mark.parametrize("n_bytes", [0, 3, 40, 2000])
def test_a_file_that_was_cut_off_is_told(file: Path, tmp_path: Path, n_bytes: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:n_bytes])

    with pytest.raises(ModelLoadError, match=r"cut\.gguf is not a whole GGUF file"):
        read_gguf(cut)


def test_what_is_no_language_model_is_told(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "clip.gguf", "clip")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with pytest.raises(ModelLoadError, match=r"not a language model.*architecture is clip"):
        read_gguf(tmp_path / "clip.gguf")


def test_two_models_of_one_name_are_refused() -> None:
    one = {"model": "a.gguf"}
    config = LlamaCppConfig.model_validate({"models": [one, one]})

    with pytest.raises(ConfigError, match=r"llama_cpp\.models are called `llama\.cpp/a`"):
        pipeline_factory(ChatConfig(), EmbeddingConfig(), llama_cpp=config)


@pytest.mark.parametrize("name", ["lab-tiny", "all-MiniLM-L6-v2", "big"])
def test_the_name_of_another_model_is_refused(file: Path, name: str) -> None:
    config = LlamaCppConfig.model_validate({"models": [{"model": str(file), "name": name}]})
    vllm = VllmConfig.model_validate({"models": [{"model": "a/b", "name": "big", "memory_gb": 1}]})

    with pytest.raises(ConfigError, match=rf"called `{name}`.*another `name`"):
        pipeline_factory(ChatConfig(), EmbeddingConfig(), llama_cpp=config, vllm=vllm)


def test_an_encoder_is_told(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "bert.gguf", "bert")
    writer.add_causal_attention(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with pytest.raises(ModelLoadError, match=r"is an encoder \(bert\)"):
        read_gguf(tmp_path / "bert.gguf")


def test_the_doctor_looks_for_the_program_and_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> dict[str, Any]:
        shown = CliRunner().invoke(main, ["doctor", "--json"])
        return next(one for one in json.loads(shown.stdout) if one["check"] == "models")

    monkeypatch.setenv("LAB_CHAT_MODEL", str(file))
    monkeypatch.setenv("LAB_LLAMA_CPP_COMMAND", '["llama-server-that-is-not-here"]')
    without_program = told()
    monkeypatch.setenv("LAB_LLAMA_CPP_COMMAND", json.dumps([sys.executable]))
    found = told()
    monkeypatch.setenv("LAB_CHAT_MODEL", "/nowhere/x.gguf")
    without_file = told()

    assert not without_program["good"]
    assert "needs llama.cpp's server" in without_program["found"]
    assert (found["good"], f"llama.cpp/tiny at {file}" in found["found"]) == (True, True)
    assert not without_file["good"]
    assert "/nowhere/x.gguf cannot be read" in without_file["found"]


@pytest.mark.parametrize("by", ["name", "file"])
def test_lab_models_show_foretells_it(file: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    models = [{"model": str(file), "name": "tiny", "device": "cpu"}]
    monkeypatch.setenv("LAB_LLAMA_CPP_MODELS", json.dumps(models))

    shown = CliRunner().invoke(
        main, ["models", "show", "tiny" if by == "name" else str(file), "--json"]
    )

    (need,) = json.loads(shown.stdout)["needs"].values()
    told = read_gguf(file)
    assert (need["weights"], need["cache"]) == (gguf_bytes(file), 4 * 256 * told.token_bytes)
