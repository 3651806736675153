"""Adapters that are merged and models that are quantized, on real small models."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from benchmarks.gguf_file import save_gguf
from lab.errors import ConflictError, InputError, ModelLoadError
from lab.pipelines import pipeline_factory, run_pipeline
from lab.pipelines.converting import convert, merge_lora, quantize
from lab.pipelines.files import file_bytes
from lab.pipelines.new_folder import new_folder
from lab.schemas.chat_config import ChatConfig, Dtype, Quantization
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task
from tests.tiny_llama import save_tiny_llama

# What peft asks of transformers was renamed there.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

IDS = torch.arange(40).reshape(2, 20)
"""Token ids (B, T) to compare logits on."""


@pytest.fixture
def base(llama_folder: Path) -> Model:
    return Model(id="base", task=Task.chat, source=str(llama_folder))


@pytest.fixture(scope="session")
def adapter(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes what the model says."""
    folder = tmp_path_factory.mktemp("adapter")
    network = AutoModelForCausalLM.from_pretrained(llama_folder)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    changed = get_peft_model(network, config)
    torch.manual_seed(1)
    for name, parameter in changed.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    changed.save_pretrained(str(folder))
    return folder


def silent(_step: str) -> None:
    pass


def logits(network: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(IDS).logits
    return found


async def answer_of(folder: Path) -> str:
    factory = pipeline_factory(ChatConfig(model=str(folder), threads=1), EmbeddingConfig())
    try:
        async with factory.chat(folder.name) as chat:
            hello = [ChatMessage(role=Role.user, content="Hello.")]
            result = await run_pipeline(chat, hello, GenerationParameters(max_new_tokens=8))
    finally:
        await factory.aclose()
    return result.content


async def test_a_merged_model_computes_what_model_and_adapter_do(
    base: Model, adapter: Path, tmp_path: Path
) -> None:
    steps: list[str] = []

    merge_lora(base, adapter, tmp_path / "merged", steps.append)

    plain = AutoModelForCausalLM.from_pretrained(base.source).eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    before = logits(plain)
    together = logits(PeftModel.from_pretrained(plain, str(adapter)).eval())
    assert torch.allclose(logits(merged), together, atol=1e-4, rtol=1e-4)
    assert (before - together).abs().max() > 0.1
    assert steps == ["Loading base", f"Merging {adapter.name}", "Writing merged"]
    assert [file.name for file in tmp_path.iterdir()] == ["merged"]
    assert await answer_of(tmp_path / "merged")


def with_pytorchs_files(source: Path, folder: Path, weights: object) -> Model:
    """A model whose weights are in the file that PyTorch pickles."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(weights, folder / "pytorch_model.bin")
    return Model(id="pickled", task=Task.chat, source=str(folder))


async def test_a_model_is_written_in_another_number_format(base: Model, tmp_path: Path) -> None:
    steps: list[str] = []

    convert(base, Dtype.bfloat16, tmp_path / "half", steps.append)

    half = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    plain = AutoModelForCausalLM.from_pretrained(base.source)
    assert half.dtype is torch.bfloat16
    assert file_bytes(tmp_path / "half") < 0.7 * file_bytes(Path(base.source))
    weights = zip(half.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(one, other.bfloat16()) for one, other in weights)
    assert steps == ["Loading base", "Writing half"]
    assert await answer_of(tmp_path / "half")


@pytest.mark.parametrize("kind", ["gguf", "bin"])
async def test_a_model_in_another_format_becomes_one_that_the_lab_runs(
    base: Model, tmp_path: Path, kind: str
) -> None:
    if kind == "gguf":
        file = save_gguf(Path(base.source), tmp_path / "tiny.gguf")
        other = Model(id="tiny", task=Task.chat, source=str(file))
    else:
        weights = AutoModelForCausalLM.from_pretrained(base.source).state_dict()
        other = with_pytorchs_files(Path(base.source), tmp_path / "bin", weights)

    convert(other, Dtype.auto, tmp_path / "made", silent)

    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    assert torch.equal(logits(made), logits(AutoModelForCausalLM.from_pretrained(base.source)))
    assert await answer_of(tmp_path / "made") == await answer_of(Path(base.source))


class Obeyed:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_what_a_pickle_says_is_not_done(base: Model, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    evil = {"model.embed_tokens.weight": Obeyed(f"touch {trap}")}
    other = with_pytorchs_files(Path(base.source), tmp_path / "evil", evil)

    with pytest.raises(InputError, match="`pickled` cannot be converted"):
        convert(other, Dtype.auto, tmp_path / "made", silent)

    assert not trap.exists()
    assert not (tmp_path / "made").exists()


def test_a_file_in_gguf_that_cannot_be_converted_is_told(base: Model, tmp_path: Path) -> None:
    file = save_gguf(Path(base.source), tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:3000])
    cut = Model(id="cut", task=Task.chat, source=str(file))
    absent = Model(id="absent", task=Task.chat, source=str(tmp_path / "absent.gguf"))

    with pytest.raises(InputError, match="`cut` cannot be converted"):
        convert(cut, Dtype.auto, tmp_path / "made", silent)
    with pytest.raises(ModelLoadError, match=r"absent\.gguf cannot be read"):
        convert(absent, Dtype.auto, tmp_path / "made", silent)


@pytest.mark.parametrize("form", [Quantization.int8, Quantization.nf4])
async def test_a_quantized_model_is_smaller_near_to_the_first_and_answers(
    base: Model, tmp_path: Path, form: Quantization
) -> None:
    out = tmp_path / f"tiny-{form}"

    quantize(base, form, out, silent)

    assert file_bytes(out) < 0.7 * file_bytes(Path(base.source))
    assert json.loads((out / "config.json").read_text())["quantization_config"]
    assert await answer_of(out)
    again = Model(id="small", task=Task.chat, source=str(out))
    with pytest.raises(InputError, match="`small` is quantized already"):
        quantize(again, form, tmp_path / "again", silent)
    assert [file.name for file in tmp_path.iterdir()] == [out.name]


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def of_another_kind(folder: Path) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": "IA3"}))


def truncated(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def of_fewer_layers(folder: Path) -> None:
    """Leave out what one layer needs."""
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({name: w for name, w in weights.items() if "layers.1." not in name}, file)


def of_other_layers(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"layers.1.", b"layers.7."))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("adapter_config.json"), r"has no adapter_config\.json"),
        (without("adapter_model.safetensors"), r"has no adapter_model\.safetensors"),
        (of_another_kind, "of the kind IA3; .*LORA is expected"),
        (truncated, "does not fit `base`: "),
        (of_fewer_layers, "does not fit `base`: .*missing adapter keys"),
        (of_other_layers, r"weights that the model has not, as model\.layers\.7"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_nothing_is_left(
    base: Model, adapter: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoilt = Path(shutil.copytree(adapter, tmp_path / "spoilt"))
    spoil(spoilt)

    with pytest.raises(InputError, match=said):
        merge_lora(base, spoilt, tmp_path / "out", silent)

    assert [file.name for file in tmp_path.iterdir()] == ["spoilt"]


def test_an_adapter_of_a_model_of_another_size_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = save_tiny_llama(tmp_path / "other", 128)
    file = other / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["BertModel"]}))

    with pytest.raises(InputError, match="no causal language model"):
        merge_lora(
            Model(id="other", task=Task.chat, source=str(other)), adapter, tmp_path / "o", silent
        )


def test_nothing_is_written_over(base: Model, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match=re.escape(f"{adapter} exists")):
        merge_lora(base, adapter, adapter, silent)
    with pytest.raises(ConflictError, match="exists; name another folder"):
        quantize(base, Quantization.nf4, tmp_path, silent)
    with pytest.raises(InputError, match="There is no folder"):
        quantize(base, Quantization.nf4, tmp_path / "a" / "b", silent)
    with pytest.raises(InputError, match="choose int8 or nf4"):
        quantize(base, Quantization.auto, tmp_path / "a", silent)


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"would take 100000000\.0 GB, and its disk has .* free"),
        new_folder(tmp_path / "out", 10**17),
    ):
        pass

    assert list(tmp_path.iterdir()) == []
