"""The random Llama of tests: small, quick, and it never ends an answer by itself."""

from pathlib import Path

from transformers import LlamaConfig

from benchmarks.random_llama import save_random_llama

UNGUARDED = {"LAB_GUARDS_REPETITION": "0", "LAB_GUARDS_STUTTER": "0"}
"""Settings under which nothing stops what it says."""


def save_tiny_llama(folder: Path, context_length: int) -> Path:
    """Save a random Llama of 0.1 M parameters with its tokenizer; return the folder."""
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_length,
        initializer_range=0.5,
    )
    save_random_llama(folder, config)
    return folder
