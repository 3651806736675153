"""A tiny random Llama that unit tests of the pipelines share."""

from pathlib import Path

import pytest
from transformers import LlamaConfig

from benchmarks.random_llama import save_random_llama


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama of 0.1 M parameters, window 256."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
    )
    save_random_llama(folder, config)
    return folder
