"""The tokenizer of `lab-tiny`: byte-level BPE in which a name has the same tokens wherever it stands.

Copying a name is the one skill that everything else needs. Therefore a capital letter or a digit never
joins the space before it (the space is a token of its own), and each digit is one token.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lab.training.dialogue import render
from lab.training.mixture import KINDS, dialogues

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
MARKS: Final = ("<tool_call>", "</tool_call>", "<think>", "</think>")
CONTEXT_LENGTH: Final = 1024
TEMPLATE: Final = Path(__file__).with_name("chat_template.jinja")

_SPLITS: Final = (
    r"\p{N}| (?=[\p{Lu}\p{N}])|\p{Lu}\p{Ll}*|'(?:s|m|re|ve|ll|t|d)(?!\p{L})| ?\p{Ll}+"
    r"| ?\p{L}+|\n| ?[^\s\p{L}\p{N}]+|\s"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer on texts.

    Parameters
    ----------
    texts : iterable of str
        What to learn merges from.
    vocab_size : int
        Number of tokens, special ones included.

    Returns
    -------
    PreTrainedTokenizerFast
        With the chat template of the lab and `<|im_end|>` as end of sequence.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLITS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKS),
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    )


def corpus(seed: int, n_dialogues: int) -> Iterator[str]:
    """Yield the text of many kinds of dialogue, without the marks of the template."""
    for dialogue in islice(dialogues(seed, dict.fromkeys(KINDS, 1.0)), n_dialogues):
        for piece in render(dialogue):
            text = piece.text
            for mark in (START, END, *MARKS):
                text = text.replace(mark, " ")
            yield text
