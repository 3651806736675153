"""A random BERT of a few thousand parameters, saved as sentence-transformers saves its models."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from lab.pipelines.catalog import minilm_folder


def save_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """Write a sentence-transformers model of 32 dimensions to a folder, and return it."""
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(minilm_folder() / "tokenizer.json")),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
        model_max_length=128,
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    plain = folder / "plain"
    BertModel(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    words = Transformer(str(plain), max_seq_length=128)
    SentenceTransformer(modules=[words, Pooling(32)], device="cpu").save(str(folder))
    return folder
