"""
How well documents answer a question, by a model that reads both together.

A cross-encoder gives one score. A language model is asked for yes or no, and what counts is how
much likelier yes is (as Qwen3-Reranker was trained). A document that is too long to be read at once
is read in passages, and has the score of its best one.

Shape letters: N documents, P passages, B batch, T tokens.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lab.errors import InputError, ModelLoadError, UnavailableError
from lab.pipelines.building import BUILDING
from lab.pipelines.devices import candidates, torch_device
from lab.pipelines.files import local_folder
from lab.pipelines.loading import clear_errors, first_line, torch_dtype
from lab.pipelines.memory import batch_need, network_bytes
from lab.pipelines.need import Prospect, smaller
from lab.protocols import FloatArray
from lab.schemas.chat_config import Dtype, Quantization
from lab.schemas.model import Model
from lab.schemas.rerank_config import Method, RerankConfig

OVERLAP: Final = 32
"""Tokens that two passages of a document share, so that what stands at a border is read whole."""
LEAST_PASSAGE: Final = 16
"""Tokens that must be left for a document beside the question."""

JUDGE: Final = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
INSTRUCT: Final = (
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
)
"""The words on which Qwen3-Reranker was trained (Zhang et al., "Qwen3 Embedding", 2025)."""
MARK: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for the document in a prompt, which is cut there."""

Encoded = dict[str, list[int]]
"""Token ids of a question and a passage, with what the network wants besides."""


class Judge(ABC):
    """
    A network that scores passages by a question.

    Parameters
    ----------
    network : PreTrainedModel
        The weights.
    tokenizer : PreTrainedTokenizerBase
        Of the network.
    max_tokens : int
        Of a question and a passage together.
    """

    auto_class: Any
    """What loads the network."""
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What its forward pass is given besides."""

    def __init__(
        self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    @abstractmethod
    def passages(self, query: str, document: str) -> list[Encoded]:
        """Return the question with each passage; raise `InputError` where it leaves no room."""

    @abstractmethod
    def logits(self, batch: Sequence[Encoded]) -> Tensor:
        """Return (B,) scores before the sigmoid."""

    def room_beside(self, n_tokens: int) -> int:
        """Return the tokens left for a passage beside so many; raise `InputError` for too few."""
        if (room := self.max_tokens - n_tokens) < LEAST_PASSAGE:
            raise InputError(
                f"`query`: it and its surroundings take {n_tokens} tokens of the {self.max_tokens} "
                f"that are read at once, and {LEAST_PASSAGE} must be left for a document; shorten "
                "it, or raise LAB_RERANK_MAX_TOKENS where the model reads more."
            )
        return room

    def padded(self, batch: Sequence[Encoded], side: str) -> dict[str, Tensor]:
        """Return tensors of shape (B, T) on the network's device."""
        columns = {key: [one[key] for one in batch] for key in batch[0]}
        padded = self.tokenizer.pad(columns, padding=True, padding_side=side, return_tensors="pt")
        return dict(padded.to(self.network.device))


class CrossEncoder(Judge):
    """A network with one output: the score."""

    auto_class = AutoModelForSequenceClassification

    def passages(self, query: str, document: str) -> list[Encoded]:
        """Return the question with each passage, as the tokenizer joins two texts."""
        n_beside = len(self.tokenizer(query, "")["input_ids"])
        room = self.room_beside(n_beside)
        found = self.tokenizer(
            query,
            document,
            truncation="only_second",
            max_length=self.max_tokens,
            stride=min(OVERLAP, room // 4),
            return_overflowing_tokens=True,
        )
        n_passages = len(found["input_ids"])
        names = [name for name in self.tokenizer.model_input_names if name in found]
        return [{name: found[name][i] for name in names} for i in range(n_passages)]

    def logits(self, batch: Sequence[Encoded]) -> Tensor:
        """Return (B,) outputs."""
        scores: Tensor = self.network(**self.padded(batch, "right")).logits[:, 0]
        return scores


class YesNo(Judge):
    """A language model that is asked whether a document answers a question."""

    auto_class = AutoModelForCausalLM
    options = {"logits_to_keep": 1, "use_cache": False}  # noqa: RUF012 - never changed

    def __init__(
        self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        super().__init__(network, tokenizer, max_tokens)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        first = [
            tokenizer(word, add_special_tokens=False)["input_ids"][:1] for word in ("yes", "no")
        ]
        if first[0] == first[1] or [] in first:
            raise ModelLoadError("its tokenizer has no tokens of their own for yes and no")
        self._yes, self._no = first[0][0], first[1][0]

    def passages(self, query: str, document: str) -> list[Encoded]:
        """Return the whole prompt for each passage, by the model's own chat template."""
        asked = f"{INSTRUCT}<Query>: {query.replace(MARK, '')}\n<Document>:{MARK}"
        messages = [{"role": "system", "content": JUDGE}, {"role": "user", "content": asked}]
        prompt = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        before, after = (self._ids(part) for part in prompt.split(MARK))
        room = self.room_beside(len(before) + len(after))
        ids = self._ids(f" {document}")
        step = room - min(OVERLAP, room // 4)
        starts = range(0, max(len(ids) - room, 0) + step, step)
        whole = [before + ids[start : start + room] + after for start in starts]
        return [{"input_ids": tokens, "attention_mask": [1] * len(tokens)} for tokens in whole]

    def logits(self, batch: Sequence[Encoded]) -> Tensor:
        """Return (B,) logits of yes less those of no."""
        inputs = self.padded(batch, "left")
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        output = self.network(**inputs, position_ids=positions, **self.options)
        last = output.logits[:, -1].float()
        return last[:, self._yes] - last[:, self._no]

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found


class Reranker:
    """
    Score documents by a question; passages of like length share a batch.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    judge : Judge
        What scores.
    batch_size : int
        Passages in one forward pass.
    """

    def __init__(self, model: Model, judge: Judge, *, batch_size: int) -> None:
        self.model = model.model_copy(update={"context_length": judge.max_tokens, "loaded": True})
        self._judge = judge
        self._n_bytes = network_bytes(judge.network)
        self._batch_size = batch_size
        # Batch by batch, so that of several calls none waits for another's end.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rerank")

    @classmethod
    def load(cls, model: Model, config: RerankConfig) -> "Reranker":
        """Load the weights; raise `ModelLoadError` when they are missing, or of another task."""
        device = torch_device(config.device)
        with clear_errors(model):
            folder = local_folder(model)
            network_config = AutoConfig.from_pretrained(folder)
            judge_class = judge_of(model, network_config, config)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            if judge_class is YesNo and not tokenizer.chat_template:
                raise ModelLoadError(
                    f"`{model.id}` has no chat template, so it cannot be asked for yes or no; "
                    "choose a model whose tokenizer brings one."
                )
            dtype = torch_dtype(network_config, Dtype.auto, device)
            with BUILDING:
                network = judge_class.auto_class.from_pretrained(folder, dtype=dtype).to(device)
            judge = judge_class(network, tokenizer, window_of(network_config, config))
        return cls(model, judge, batch_size=config.batch_size)

    @staticmethod
    def foretell(model: Model, config: RerankConfig) -> Prospect[Quantization]:
        """Return what a reranker will need for a batch, from its configuration alone."""
        with clear_errors(model):
            devices = candidates(config.device)
            device = devices[0]
            folder = local_folder(model)
            network_config = AutoConfig.from_pretrained(folder)
            judge_class = judge_of(model, network_config, config)
            n_tokens = window_of(network_config, config)
            need = batch_need(
                judge_class.auto_class,
                network_config,
                torch_dtype(network_config, Dtype.auto, device),
                n_texts=config.batch_size,
                n_tokens=n_tokens,
                masked=True,
                **judge_class.options,
            )
        step = f"to score {config.batch_size} passages of {n_tokens} tokens at once"
        advice = smaller("LAB_RERANK_BATCH_SIZE or LAB_RERANK_MAX_TOKENS")
        places = [str(one) for one in devices]
        return Prospect(model.id, places, step, advice, {Quantization.none: need})

    @property
    def n_bytes(self) -> int:
        """Bytes that its weights take; 0 when it is closed."""
        return self._n_bytes

    @property
    def weight_bytes(self) -> int:
        """All of them: nothing else stays in memory between two uses."""
        return self._n_bytes

    async def score(self, query: str, documents: Sequence[str]) -> tuple[FloatArray, int]:
        """
        Return (N,) scores from 0 to 1 in the order of `documents`, and the tokens that were read.

        Raises
        ------
        InputError
            If the question leaves no room for a document.
        UnavailableError
            If it fails.
        """
        loop = asyncio.get_running_loop()
        passages, owners = await loop.run_in_executor(
            self._thread, self._passages, query, documents
        )
        order = sorted(range(len(passages)), key=lambda i: len(passages[i]["input_ids"]))
        best = np.full(len(documents), -np.inf)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            batch = [passages[i] for i in places]
            scores = await loop.run_in_executor(self._thread, self._logits, batch)
            np.maximum.at(best, [owners[i] for i in places], scores)
        n_tokens = sum(len(passage["input_ids"]) for passage in passages)
        return 1 / (1 + np.exp(-np.clip(best, -700, 700))), n_tokens

    def rest(self) -> None:
        """Give nothing back: it keeps nothing between calls."""

    def close(self) -> None:
        """End the thread after the batch under way, and give the memory back."""
        self._thread.shutdown()
        self._n_bytes = 0
        del self._judge

    def _passages(self, query: str, documents: Sequence[str]) -> tuple[list[Encoded], list[int]]:
        """Return all passages, and the place of each one's document."""
        found = [self._judge.passages(query, document) for document in documents]
        owners = [i for i, passages in enumerate(found) for _ in passages]
        return [passage for passages in found for passage in passages], owners

    @torch.inference_mode()
    def _logits(self, batch: Sequence[Encoded]) -> FloatArray:
        try:
            scores: FloatArray = self._judge.logits(batch).double().cpu().numpy()
        except Exception as error:
            why = first_line(error)
            raise UnavailableError(f"`{self.model.id}` could not rerank: {why}") from error
        if not np.isfinite(scores).all():
            raise UnavailableError(f"`{self.model.id}` could not rerank: a score is not finite.")
        return scores


def judge_of(
    model: Model, network_config: PretrainedConfig, config: RerankConfig
) -> type[CrossEncoder] | type[YesNo]:
    """
    Return what scores with a model.

    Raises
    ------
    ModelLoadError
        If it is of another task.
    """
    architecture = next(iter(network_config.architectures or ()), "unknown")
    chats = architecture.endswith(("ForCausalLM", "LMHeadModel"))
    if architecture.endswith("ForSequenceClassification"):
        if config.method is Method.yes_no:
            raise ModelLoadError(_unfit(model, "is a classifier and says neither yes nor no"))
        if network_config.num_labels != 1:
            why = f"tells {network_config.num_labels} classes apart, and gives no one score"
            raise ModelLoadError(_unfit(model, why))
        return CrossEncoder
    if not chats:
        does = "makes embeddings" if architecture.endswith("Model") else f"is a {architecture}"
        raise ModelLoadError(_unfit(model, does))
    if config.method is Method.yes_no or (
        config.method is Method.auto and "rerank" in model.id.lower()
    ):
        return YesNo
    raise ModelLoadError(
        _unfit(model, "is a chat model")
        + " Were it trained to judge documents by yes or no, set LAB_RERANK_METHOD=yes_no."
    )


def _unfit(model: Model, why: str) -> str:
    return (
        f"`{model.id}` {why}; it cannot rerank. Name a cross-encoder with one score, or a language "
        "model trained to answer yes or no, in LAB_RERANK_MODEL."
    )


def window_of(network_config: PretrainedConfig, config: RerankConfig) -> int:
    """Return the tokens of question and passage that are read at once."""
    own = int(network_config.get_text_config(decoder=True).max_position_embeddings)
    padding = network_config.pad_token_id or 0
    if network_config.model_type in {"camembert", "roberta", "xlm-roberta"}:
        own -= padding + 1  # its positions begin after that of padding
    return min(config.max_tokens, own)
