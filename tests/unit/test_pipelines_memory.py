"""What a model needs of memory, told before it is loaded, and the form in which it fits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from lab.pipelines import run_pipeline
from lab.pipelines.chat import TransformersChat
from lab.pipelines.load import load_chat
from lab.pipelines.memory import Alive, memory_needs
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
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
FORMS = [Quantization.none, Quantization.int8, Quantization.nf4]


def settings(folder: Path, **more: Any) -> ChatConfig:
    return ChatConfig.model_validate(
        {"model": str(folder), "device": "cpu", "threads": 1, "prefill_tokens": 64, **more}
    )


def load(folder: Path, **more: Any) -> TransformersChat:
    return load_chat(Model(id="tiny", task=Task.chat, source=str(folder)), settings(folder, **more))


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
    chat = load(folder, quantization=form)
    try:
        hello = [ChatMessage(role=Role.user, content="Hello")]
        parameters = GenerationParameters(max_new_tokens=8, temperature=0)
        answers = [(await run_pipeline(chat, hello, parameters)).content for _ in range(2)]
        lies = n_bytes(chat)
    finally:
        chat.close()

    assert answers[0] == answers[1] != ""
    assert lies == pytest.approx(foretold, rel=0.05)


def tensors_of(module: nn.Module) -> list[object]:
    parts = (vars(module), module._parameters, module._buffers)
    return [value for part in parts for value in part.values()]


def n_bytes(chat: TransformersChat) -> int:
    """Return the bytes of weights, with the scales of bitsandbytes beside them."""
    found: dict[int, torch.Tensor] = {}
    for module in chat._network.modules():
        for value in tensors_of(module):
            scales = getattr(value, "quant_state", None) or value
            scales = getattr(scales, "absmax", getattr(scales, "SCB", None))
            found |= {id(t): t for t in (value, scales) if isinstance(t, torch.Tensor)}
    return sum(tensor.nbytes for tensor in found.values())


@pytest.mark.parametrize("form", FORMS)
def test_the_first_form_that_fits_is_taken(folder: Path, form: Quantization) -> None:
    kinds = {Quantization.none: "PackedLinear", Quantization.int8: "Linear8bitLt"}
    chat = load(folder, quantization="auto", memory_gb=needs(folder)[form] * 1.01)
    chat.close()

    names = {type(module).__name__ for module in chat._network.modules()}
    assert kinds.get(form, "Linear4bit") in names


def test_what_does_not_fit_is_refused_with_what_would(folder: Path) -> None:
    needed = needs(folder)
    with pytest.raises(ModelLoadError, match=r"needs .* \(weights .*LAB_CHAT_QUANTIZATION=int8"):
        load(folder, memory_gb=needed[Quantization.int8] * 1.01)
    with pytest.raises(ModelLoadError, match=r"In 4 bits it would need .* a smaller model"):
        load(folder, quantization="auto", memory_gb=needed[Quantization.nf4] * 0.5)
