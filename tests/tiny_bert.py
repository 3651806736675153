"""Random encoders of a few thousand parameters, saved as sentence-transformers saves its models."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from transformers import AutoModel, BertConfig, PretrainedConfig, PreTrainedTokenizerFast

from lab.pipelines.catalog import minilm_folder

WINDOW = 128


def save_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """Write a BERT of 32 dimensions to a folder, and return it."""
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=WINDOW,
    )
    return save_tiny_encoder(folder, config, seed=seed)


def save_tiny_encoder(
    folder: Path, config: PretrainedConfig, *, pooling: str = "mean", seed: int = 0
) -> Path:
    """Write an encoder of any architecture to a folder, and return it."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    config.vocab_size = len(tokenizer)
    plain = folder / "plain"
    AutoModel.from_config(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    words = Transformer(str(plain), max_seq_length=WINDOW)
    modules = [words, Pooling(words.get_embedding_dimension(), pooling)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of MiniLM, with a window of 128 tokens."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(minilm_folder() / "tokenizer.json")),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
        model_max_length=WINDOW,
    )
