"""What a model needs of memory, told before it is loaded, and the form in which it fits."""

import json
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from benchmarks.random_llama import save_random_llama
from lab.errors import ModelLoadError
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.load import load_chat
from lab.pipelines.memory import Alive, memory_needs
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.role import Role
from lab.schemas.task import Task

SIZES: Mapping[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
N_TOKENS = 200
FAMILIES = [
    LlamaConfig(**SIZES),
    LlamaConfig(**SIZES, tie_word_embeddings=True),
    MistralConfig(**SIZES, sliding_window=64),
    Qwen3Config(**SIZES, head_dim=32),
    Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64),
    Gemma3TextConfig(**SIZES, head_dim=32),
    GPT2Config(n_embd=128, n_layer=3, n_head=4, vocab_size=512, eos_token_id=0, bos_token_id=0),
]
HELLO = [ChatMessage(role=Role.user, content="Hello")]
FORMS = [Quantization.none, Quantization.int8, Quantization.nf4]


def settings(folder: Path, **more: Any) -> ChatConfig:
    return ChatConfig.model_validate(
        {"model": str(folder), "device": "cpu", "threads": 1, "prefill_tokens": 64, **more}
    )


def needs(folder: Path) -> dict[Quantization, float]:
    """Return the gigabytes that each form of the model needs."""
    config = AutoConfig.from_pretrained(folder)
    needs = memory_needs(config, torch.float32, n_tokens=64)
    return {form: need.total / 1e9 for form, need in needs.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama whose linear layers are most of it."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
    save_random_llama(folder, LlamaConfig(**{**SIZES, **sizes}, max_position_embeddings=256))
    return folder


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.model_type)
def test_a_network_takes_what_was_foretold(config: PretrainedConfig) -> None:
    need = memory_needs(config, torch.float32, n_tokens=N_TOKENS)[Quantization.none]
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    alive = Alive(network)
    with torch.inference_mode(), alive:
        network(input_ids=torch.zeros((1, N_TOKENS), dtype=torch.long), logits_to_keep=1)

    assert need.weights == sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
    assert need.cache + need.activations == pytest.approx(alive.peak, rel=0.1)


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_answers_and_lies_in_memory_as_foretold(
    folder: Path, form: Quantization
) -> None:
    config = AutoConfig.from_pretrained(folder)
    foretold = memory_needs(config, torch.float32, n_tokens=64)[form].weights
    chat = load_chat(Model(id="tiny", task=Task.chat, source=str(folder)), settings(folder), form)
    lies = chat.n_bytes
    try:
        parameters = GenerationParameters(max_new_tokens=8, temperature=0)
        answers = [(await run_pipeline(chat, HELLO, parameters)).content for _ in range(2)]
    finally:
        chat.close()

    assert answers[0] == answers[1] != ""
    assert lies == pytest.approx(foretold, rel=0.05)


def tensors(network: nn.Module) -> list[torch.Tensor]:
    """Return the weights of a network, packed ones too."""
    kept = [value for module in network.modules() for value in vars(module).values()]
    packed = [value for value in kept if isinstance(value, torch.Tensor)]
    return [*network.parameters(), *network.buffers(), *packed]


def factory_of(folder: Path, memory_gb: float, **more: Any) -> PipelineFactory:
    residency = ResidencyConfig(memory_gb=memory_gb)
    return pipeline_factory(settings(folder, **more), EmbeddingConfig(), residency)


@pytest.mark.parametrize("form", FORMS)
async def test_the_first_form_that_fits_is_taken(folder: Path, form: Quantization) -> None:
    kinds = {Quantization.none: "PackedLinear", Quantization.int8: "Linear8bitLt"}
    factory = factory_of(folder, needs(folder)[form] * 1.01, quantization="auto")
    async with factory.chat("default") as chat:
        network = cast("TransformersChat", chat)._network
        names = {type(module).__name__ for module in network.modules()}
        (there,) = factory.residency().models
    await factory.aclose()

    assert kinds.get(form, "Linear4bit") in names
    assert there.form == form
    assert there.used_bytes <= there.foretold_bytes


async def test_what_does_not_fit_is_refused_with_what_would(folder: Path) -> None:
    needed = needs(folder)
    asked = factory_of(folder, needed[Quantization.int8] * 1.01)
    with pytest.raises(ModelLoadError, match=r"needs .* \(weights .*LAB_CHAT_QUANTIZATION=int8"):
        await asked.load("default")
    auto = factory_of(folder, needed[Quantization.nf4] * 0.5, quantization="auto")
    with pytest.raises(
        ModelLoadError, match=r"As \w+ it would need .* a smaller LAB_CHAT_PREFILL_TOKENS"
    ):
        await auto.load("default")


async def test_a_model_that_fits_in_no_form_is_offloaded_and_answers_the_same(folder: Path) -> None:
    needed = needs(folder)
    limit = needed[Quantization.offload] * 2.2
    assert limit < needed[Quantization.none]
    factory = factory_of(folder, limit, quantization="offload")
    async with factory.chat("default") as chat:
        network = cast("TransformersChat", chat)._network
        offloaded = await run_pipeline(chat, HELLO, GenerationParameters(max_new_tokens=8))
        (there,) = factory.residency().models
        n_layers = len({n.split(".")[2] for n, p in network.named_parameters() if p.is_meta})
    await factory.aclose()
    whole = factory_of(folder, 1)
    async with whole.chat("default") as chat:
        answer = await run_pipeline(chat, HELLO, GenerationParameters(max_new_tokens=8))
    await whole.aclose()

    assert offloaded.content == answer.content
    assert there.form == Quantization.offload
    assert there.used_bytes <= there.foretold_bytes <= limit * 1e9
    assert 0 < n_layers < 4  # of four; the others lie in memory


async def test_a_model_in_memory_takes_what_was_foretold() -> None:
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig())
    async with factory.chat("lab-tiny") as leased:
        need = factory.residents.ledger.holdings["lab-tiny"].need
        assert cast("TransformersChat", leased).n_bytes == pytest.approx(need.weights, rel=0.02)
    await factory.aclose()


async def test_an_encoder_takes_what_was_foretold() -> None:
    config = EmbeddingConfig.model_validate({"engine": "torch", "device": "cpu"})
    factory = pipeline_factory(ChatConfig(), config)
    async with factory.embedding() as leased:
        embedding = cast("SentenceEmbedding", leased)
        need = factory.residents.ledger.holdings[embedding.model.id].need
        assert embedding.n_bytes == pytest.approx(need.weights, rel=0.02)
        network = embedding._network
        alive = Alive(network)
        with torch.inference_mode(), alive:
            ids = torch.zeros((32, 256), dtype=torch.long)
            network({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    await factory.aclose()

    assert need.activations == pytest.approx(alive.peak, rel=0.1)


@pytest.mark.parametrize("quantization", ["none", "int8"])
async def test_an_encoder_by_onnx_takes_what_was_foretold(quantization: str) -> None:
    config = EmbeddingConfig.model_validate({"device": "cpu", "quantization": quantization})
    factory = pipeline_factory(ChatConfig(), config)
    async with factory.embedding() as leased:
        embedding = cast("SentenceEmbedding", leased)
        holding = factory.residents.ledger.holdings[embedding.model.id]
        lies = embedding.n_bytes
    await factory.aclose()
    script = [sys.executable, "-m", "tests.encoder_peak", quantization]
    took = json.loads(subprocess.run(script, check=True, capture_output=True).stdout)

    assert holding.form == quantization
    assert lies == pytest.approx(holding.need.weights, rel=0.02)
    assert took["activations"] == pytest.approx(holding.need.activations, rel=0.1)
    assert took["activations"] + took["weights"] == pytest.approx(holding.need.total, rel=0.1)


async def test_a_model_that_left_gives_its_memory_back(folder: Path) -> None:
    factory = factory_of(folder, 1)
    async with factory.chat("default") as leased:
        chat = cast("TransformersChat", leased)
        await run_pipeline(chat, HELLO, GenerationParameters(max_new_tokens=8))
        lives = [weakref.ref(tensor) for tensor in tensors(chat._network)]
        assert chat.n_bytes > 0.5e9 * needs(folder)[Quantization.none]
    await factory.unload("default")

    assert not [one for one in lives if one() is not None]
    assert chat.count_text("Hello.") > 0  # which a turn that let it go still asks of it
    assert factory.residency().models == []
    assert factory.stats().generated_tokens == 8
    await factory.aclose()
