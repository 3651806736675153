"""Examples: dialogues as token ids with a weight for each token that the model has to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lab.training.dialogue import Dialogue, Message, render
from lab.training.mixture import Mix, dialogues

FIRST_TOKEN_WEIGHT, VALUE_WEIGHT = 2.0, 2.0
_GROUP_BATCHES = 16


@dataclass(frozen=True)
class Example:
    """A dialogue as the model reads it."""

    input_ids: list[int]
    weights: list[float]
    """Weight of saying each token; 0 where the model only reads."""
    spans: list[tuple[int, int, Message]]
    """Where each learned message starts and ends."""
    kind: str = ""
    has_tools: bool = False


@dataclass(frozen=True)
class Batch:
    """Examples side by side; position `i` predicts token `i + 1`."""

    input_ids: Tensor
    """Shape (B, T), padded on the right."""
    weights: Tensor
    """Shape (B, T)."""
    examples: Sequence[Example]


class Encoder:
    """Turns dialogues into examples."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._encode = lru_cache(maxsize=4096)(lambda text: tokenizer(text)["input_ids"])
        self.tokenizer = tokenizer

    def __call__(self, dialogue: Dialogue) -> Example:
        """Return the example of a dialogue."""
        example = Example([], [], [], dialogue.kind, bool(dialogue.tools))
        for piece in render(dialogue):
            if piece.message is None:
                ids = self._encode(piece.text)
                weights = [0.0] * len(ids)
            else:
                ids, weights = self._weighted(piece.text, piece.message.values)
                start = len(example.input_ids)
                example.spans.append((start, start + len(ids), piece.message))
            example.input_ids.extend(ids)
            example.weights.extend(weights)
        return example

    def _weighted(self, text: str, values: Sequence[str]) -> tuple[list[int], list[float]]:
        encoded = self.tokenizer(text, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        told = [
            (text.find(value), text.find(value) + len(value)) for value in values if value in text
        ]
        weights = [
            VALUE_WEIGHT if any(a <= s and e <= b for a, b in told) else 1.0 for s, e in offsets
        ]
        weights[0] = max(weights[0], FIRST_TOKEN_WEIGHT)
        return ids, weights


def batch_of(examples: Sequence[Example]) -> Batch:
    """Pad examples to one length."""
    length = max(len(example.input_ids) for example in examples)
    ids = [example.input_ids + [0] * (length - len(example.input_ids)) for example in examples]
    weights = [example.weights + [0.0] * (length - len(example.weights)) for example in examples]
    return Batch(torch.tensor(ids), torch.tensor(weights), examples)


def by_length(examples: Sequence[Example], batch_tokens: int) -> list[Batch]:
    """Put examples of like length together, at most `batch_tokens` a batch with the padding."""
    batches: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda example: len(example.input_ids)):
        if batches[-1] and len(example.input_ids) * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(example)
    return [batch_of(batch) for batch in batches]


def draw_group(
    encoder: Encoder, mix: Mix, seed: int, batch_tokens: int, max_length: int
) -> list[Batch]:
    """Draw the next few batches of a mixture, shuffled; the same for the same seed."""
    examples: list[Example] = []
    n_tokens = 0
    for dialogue in dialogues(seed, mix):
        example = encoder(dialogue)
        if len(example.input_ids) > max_length:
            continue
        examples.append(example)
        n_tokens += len(example.input_ids)
        if n_tokens > batch_tokens * _GROUP_BATCHES:
            break
    batches = by_length(examples, batch_tokens)
    Random(seed).shuffle(batches)
    return batches


def some(
    encoder: Encoder, mix: Mix, seed: int, n_dialogues: int, max_length: int
) -> Iterator[Example]:
    """Yield examples of the evaluation half."""
    for dialogue in islice(dialogues(seed, mix, "eval"), n_dialogues):
        example = encoder(dialogue)
        if len(example.input_ids) <= max_length:
            yield example
