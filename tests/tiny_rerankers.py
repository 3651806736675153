"""Random rerankers of a few thousand parameters, of both kinds."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.tiny_bert import WINDOW, tiny_tokenizer


def save_tiny_cross_encoder(folder: Path, *, n_labels: int = 1) -> Path:
    """Write a BERT with some outputs to a folder, and return it."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=WINDOW,
        initializer_range=0.3,
        num_labels=n_labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
