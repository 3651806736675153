"""A Llama with random weights and a tokenizer made on the spot: real work without a download."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if tools and loop.first %}{{- tools | tojson + '\\n' }}{%- endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking %}{{- '<think>\\n' }}{%- endif %}
{%- endif %}
"""

TURN, END_OF_TURN = "<|im_start|>", "<|im_end|>"

SYLLABLES = ["ka", "mi", "to", "re", "sun", "la", "vo", "ner", "ti", "ba", "shu", "el", "om", "di"]


def words(n_words: int, seed: int) -> list[str]:
    """Return random words of two to four syllables."""
    numbers = random.Random(seed)
    return ["".join(numbers.choices(SYLLABLES, k=numbers.randint(2, 4))) for _ in range(n_words)]


def save_tokenizer(folder: Path, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on random words and save it with a chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([" ".join(words(200, seed)) for seed in range(200)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_random_llama(folder: Path, config: LlamaConfig, *, seed: int = 0) -> None:
    """
    Save a Llama with random weights, its tokenizer and a chat template.

    It never ends a turn by greedy decoding, so the length of its answers is what was asked for.

    Parameters
    ----------
    folder : Path
        Where to save; made when absent.
    config : LlamaConfig
        Sizes; vocabulary and ids of special tokens are set to the tokenizer's.
    seed : int, default=0
        Seed of the weights.
    """
    tokenizer = save_tokenizer(folder, config.vocab_size)
    config.vocab_size = len(tokenizer)
    config.bos_token_id = None
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    torch.manual_seed(seed)
    network = LlamaForCausalLM(config)
    network.lm_head.weight.data[tokenizer.eos_token_id] = 0  # the best of all is above 0
    network.save_pretrained(folder)
