"""
Texts to vectors, by a model of sentence-transformers.

Shape letters: N texts, B batch, T tokens, D dimensions of the model.
"""

import asyncio
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from lab.errors import ModelLoadError, UnavailableError
from lab.pipelines.catalog import WEIGHTS_SHA256
from lab.pipelines.loading import check_sha256, clear_errors, local_folder, torch_device
from lab.protocols import EMBEDDING_DIM, EmbeddingKind, FloatArray
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model

Window = list[int]
"""Token ids of one text, or of a part of a long one, special tokens included."""


class SentenceEmbedding:
    """
    Embed texts into unit vectors, padded with zeros to 768.

    A text longer than the model's window is embedded in windows; its vector is the mean of
    theirs, scaled to length 1. Calls that come together are embedded together, on one thread.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    network : SentenceTransformer
        The weights and the tokenizer.
    batch_size : int
        Windows in one forward pass.
    """

    def __init__(self, model: Model, network: SentenceTransformer, *, batch_size: int) -> None:
        dim = network.get_embedding_dimension()
        if not dim or dim > EMBEDDING_DIM:
            raise ModelLoadError(
                f"`{model.id}` makes vectors of {dim} dimensions, and the lab stores at most "
                f"{EMBEDDING_DIM}; choose a smaller embedding model."
            )
        self.dim = dim
        self.model = model.model_copy(
            update={"dim": dim, "context_length": network.max_seq_length, "loaded": True}
        )
        self._network = network.eval()
        self._batch_size = batch_size
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._lock = threading.Lock()
        self._calls: list[tuple[list[str], Future[FloatArray]]] = []  # guarded by `_lock`

    @classmethod
    def load(cls, model: Model, config: EmbeddingConfig) -> "SentenceEmbedding":
        """Load the weights; raise `ModelLoadError` when they are missing or not the right ones."""
        with clear_errors(model):
            folder = local_folder(model)
            if expected := WEIGHTS_SHA256.get(model.id):
                check_sha256(folder / "model.safetensors", expected)
            network = SentenceTransformer(
                str(folder), device=str(torch_device(config.device)), local_files_only=True
            )
        return cls(model, network, batch_size=config.batch_size)

    async def embed(self, texts: Sequence[str], *, kind: EmbeddingKind = "document") -> FloatArray:
        """Return unit vectors of shape (N, 768), in the order of `texts`."""
        prefix = self._network.prompts.get(kind) or ""
        answer: Future[FloatArray] = Future()
        with self._lock:
            self._calls.append(([prefix + text for text in texts], answer))
        self._thread.submit(self._answer_calls)
        return await asyncio.wrap_future(answer)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the tokens of all texts, special tokens included."""
        windows, _ = self._windows(texts)
        return sum(len(window) for window in windows)

    def close(self) -> None:
        """End the thread after the calls under way."""
        self._thread.shutdown()

    def _answer_calls(self) -> None:
        """Embed the texts of all calls that wait, in one go."""
        with self._lock:
            waiting, self._calls = self._calls, []
        calls = [call for call in waiting if call[1].set_running_or_notify_cancel()]
        try:
            if calls:
                self._answer(calls)
        finally:
            for _, answer in calls:
                if not answer.done():  # an error that nobody foresaw must not leave callers waiting
                    answer.set_exception(self._failure(repr(sys.exception())))

    def _answer(self, calls: Sequence[tuple[list[str], Future[FloatArray]]]) -> None:
        try:
            vectors = self.embed_now([text for texts, _ in calls for text in texts])
        except (RuntimeError, ValueError) as error:
            for _, answer in calls:
                answer.set_exception(self._failure(str(error)))
            return
        start = 0
        for texts, answer in calls:
            answer.set_result(vectors[start : start + len(texts)])
            start += len(texts)

    def _failure(self, reason: str) -> UnavailableError:
        return UnavailableError(f"`{self.model.id}` could not embed: {reason}")

    @torch.inference_mode()
    def embed_now(self, texts: Sequence[str]) -> FloatArray:
        """Return unit vectors of shape (N, 768); blocks until they are there."""
        windows, owners = self._windows(texts)
        parts = self._forward(windows)
        sums = np.zeros((len(texts), EMBEDDING_DIM), np.float32)
        np.add.at(sums[:, : self.dim], owners, parts)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise ValueError("a vector came out empty or not finite")
        vectors: FloatArray = sums / lengths
        return vectors

    def _windows(self, texts: Sequence[str]) -> tuple[list[Window], list[int]]:
        """Return the token windows that cover the texts, and the place of each one's text."""
        if not texts:
            return [], []
        encoded = self._network.tokenizer(
            list(texts),
            truncation=True,
            max_length=self._network.max_seq_length,
            return_overflowing_tokens=True,
        )
        return encoded["input_ids"], encoded["overflow_to_sample_mapping"]

    def _forward(self, windows: Sequence[Window]) -> FloatArray:
        """Return (N, D) unit vectors of token windows; those of like length share a batch."""
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        vectors = np.empty((len(windows), self.dim), np.float32)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            vectors[places] = self._forward_batch([windows[i] for i in places])
        return vectors

    def _forward_batch(self, windows: Sequence[Window]) -> FloatArray:
        features = self._network.tokenizer.pad(
            {"input_ids": list(windows)}, padding=True, return_tensors="pt"
        )
        output = self._network(features.to(self._network.device))["sentence_embedding"]  # (B, D)
        unit: FloatArray = torch.nn.functional.normalize(output.float(), dim=-1).cpu().numpy()
        return unit
