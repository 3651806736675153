"""A Llama of transformers as a GGUF file in float32, which llama.cpp reads."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

PRE_TOKENIZER = "gpt-2"
"""
Cuts texts where the byte-level tokenizers of our models do, or in longer pieces, inside which
their merges come to the same.
"""


def save_gguf(folder: Path, file: Path) -> Path:
    """Write the Llama of a folder, with tokenizer and chat template; return the file."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = network.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name(folder.name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in network.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        for part, n_heads in heads.items():
            if f".{part}.weight" in name:
                values = _interleaved(values, n_heads)
        place = names.get_name(name, (".weight", ".bias"))
        if place is None:
            raise KeyError(f"A Llama in GGUF has no tensor for `{name}`.")
        writer.add_tensor(place, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _interleaved(weight: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Return a projection whose halves of each head lie in turn: GGUF's Llama rotates pairs."""
    rows, columns = weight.shape
    halves = weight.reshape(n_heads, 2, rows // n_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path) -> None:
    described = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    added = {token["id"]: token for token in described["added_tokens"]}
    tokens = [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))]
    kinds = [_kind(added.get(i)) for i in range(len(tokens))]
    merges = [m if isinstance(m, str) else " ".join(m) for m in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _kind(added: dict[str, object] | None) -> int:
    if added is None:
        return int(gguf.TokenType.NORMAL)
    return int(gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED)
