"""
Texts to vectors, by a model of sentence-transformers.

Shape letters: N texts, B batch, T tokens, D dimensions of the model.
"""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, PretrainedConfig

from lab.errors import InputError, ModelLoadError, UnavailableError
from lab.pipelines.bert import OnnxBert, bert_need, unfit
from lab.pipelines.building import BUILDING
from lab.pipelines.catalog import WEIGHTS_SHA256
from lab.pipelines.devices import candidates, torch_device
from lab.pipelines.files import check_sha256, local_folder, made_by, signature
from lab.pipelines.loading import clear_errors
from lab.pipelines.matryoshka import cut, lengths_of, refusal
from lab.pipelines.memory import encoder_need, network_bytes
from lab.pipelines.need import Prospect, smaller
from lab.protocols import EMBEDDING_DIM, EmbeddingKind, FloatArray
from lab.schemas.chat_config import Quantization
from lab.schemas.embedding_config import EmbeddingConfig, Engine
from lab.schemas.embedding_config import Quantization as EmbeddingQuantization
from lab.schemas.model import Model

Window = list[int]
"""Token ids of one text, or of a part of a long one, special tokens included."""


class _Call:
    """
    The texts of one caller, embedded window by window.

    Parameters
    ----------
    windows : sequence of Window
        Token windows that cover N texts.
    owners : sequence of int
        The place of each window's text.
    shape : tuple of int
        N, and the numbers of a vector, D.
    answer : Future
        Gets the unit vectors, of shape (N, D).
    """

    def __init__(
        self,
        windows: Sequence[Window],
        owners: Sequence[int],
        shape: tuple[int, int],
        answer: Future[FloatArray],
    ) -> None:
        # Windows of like length follow each other, so that they share a batch.
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        self._windows = [windows[i] for i in order]
        self._owners = [owners[i] for i in order]
        self._sums = np.zeros(shape, np.float32)
        self._n_done = 0
        self.answer = answer

    def next(self, most: int) -> list[Window]:
        """Return the next windows to embed."""
        return self._windows[self._n_done : self._n_done + most]

    def take(self, vectors: FloatArray) -> bool:
        """Take the (W, D) unit vectors of the next windows; return True after the last one."""
        owners = self._owners[self._n_done : self._n_done + len(vectors)]
        np.add.at(self._sums, owners, vectors)
        self._n_done += len(vectors)
        return self._n_done == len(self._windows)

    def vectors(self) -> FloatArray:
        """Return the mean of each text's windows, scaled to length 1."""
        lengths = np.linalg.norm(self._sums, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise ValueError("a vector came out empty or not finite")
        vectors: FloatArray = self._sums / lengths
        return vectors


class SentenceEmbedding:
    """
    Embed texts into unit vectors, padded with zeros to 768.

    A text longer than the model's window is embedded in windows; its vector is the mean of
    theirs, scaled to length 1. Calls that come together are embedded together, on one thread;
    each gets a batch in its turn, so that a long text holds nobody up.

    Parameters
    ----------
    model : Model
        Its entry in the catalog.
    network : SentenceTransformer
        The weights and the tokenizer.
    signature : str
        Name and digest of its files.
    config : EmbeddingConfig
        Prefixes, the length of vectors, and the windows in one forward pass.

    Raises
    ------
    ModelLoadError
        If its vectors do not fit, or cannot be cut to the wanted length.
    """

    def __init__(
        self,
        model: Model,
        network: SentenceTransformer,
        *,
        signature: str,
        config: EmbeddingConfig,
    ) -> None:
        self._dim = int(network.get_embedding_dimension() or 0)
        network_config = getattr(network[0], "config", None)
        self._lengths = lengths_of(network_config, self._dim, trained=config.matryoshka)
        self.dim = config.dimensions or self._dim
        if self.dim not in self._lengths:
            raise ModelLoadError(refusal(model.id, self._lengths, self.dim))
        if not 0 < self.dim <= EMBEDDING_DIM:
            raise ModelLoadError(
                f"`{model.id}` makes vectors of {self.dim} dimensions, and the lab stores at most "
                f"{EMBEDDING_DIM}; choose a smaller embedding model, or set "
                "LAB_EMBEDDING_DIMENSIONS where it was trained to have its vectors cut."
            )
        self.model = model.model_copy(
            update={"dim": self.dim, "context_length": network.max_seq_length, "loaded": True}
        )
        self._prefixes = {
            "query": _first(config.query_prefix, network.prompts.get("query")),
            "document": _first(config.document_prefix, network.prompts.get("document")),
        }
        self.signature = signature
        self._network = network.eval()
        self._n_bytes = network_bytes(network) + sum(
            module.n_bytes for module in network.modules() if isinstance(module, OnnxBert)
        )
        self._batch_size = config.batch_size
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._lock = threading.Lock()
        self._waiting: list[tuple[list[str], Future[FloatArray]]] = []  # guarded by `_lock`
        self._running: list[_Call] = []

    @classmethod
    def load(
        cls, model: Model, config: EmbeddingConfig, threads: int | None = None
    ) -> "SentenceEmbedding":
        """Load the weights; raise `ModelLoadError` when they are missing or not the right ones."""
        with clear_errors(model):
            folder = local_folder(model)
            if expected := WEIGHTS_SHA256.get(model.id):
                check_sha256(folder / "model.safetensors", expected)
            device = torch_device(config.device)
            engine = engine_for(model, AutoConfig.from_pretrained(folder), config, device)
            int8 = config.quantization is EmbeddingQuantization.int8
            with BUILDING:
                network = SentenceTransformer(
                    str(folder), device=str(device), local_files_only=True
                )
                if engine is Engine.onnx:
                    words = network[0].model.float()
                    n_threads = threads or torch.get_num_threads()
                    network[0].model = OnnxBert(words, int8=int8, threads=n_threads)
            signed = signature(model, folder, made_by(config))
        return cls(model, network, signature=signed, config=config)

    @staticmethod
    def foretell(model: Model, config: EmbeddingConfig) -> Prospect[Quantization]:
        """Return what an embedding model will need for a batch, from its configuration alone."""
        form = Quantization(config.quantization.value)
        with clear_errors(model):
            devices = candidates(config.device)
            device = devices[0]
            folder = local_folder(model)
            network_config = AutoConfig.from_pretrained(folder)
            n_tokens = window_of(folder, network_config)
            engine = engine_for(model, network_config, config, device)
            batch = {"n_texts": config.batch_size, "n_tokens": n_tokens}
            if engine is Engine.onnx:
                need = bert_need(network_config, int8=form is Quantization.int8, **batch)
            else:
                dtype = network_config.dtype or torch.float32
                need = encoder_need(network_config, dtype, **batch)
        step = f"to embed {config.batch_size} texts of {n_tokens} tokens at once by {engine}"
        advice = smaller("LAB_EMBEDDING_BATCH_SIZE")
        places = [str(one) for one in devices]
        return Prospect(model.id, places, step, advice, {form: need})

    @property
    def n_bytes(self) -> int:
        """Bytes that its weights take; 0 when it is closed."""
        return self._n_bytes

    @property
    def weight_bytes(self) -> int:
        """All of them: nothing else stays in memory between two uses."""
        return self._n_bytes

    async def embed(
        self,
        texts: Sequence[str],
        *,
        kind: EmbeddingKind = "document",
        dimensions: int | None = None,
    ) -> FloatArray:
        """
        Return unit vectors of shape (N, 768), in the order of `texts`; equal texts are read once.

        Raises
        ------
        InputError
            If the model was not trained to have its vectors cut to so many dimensions.
        UnavailableError
            If it fails.
        """
        dim = dimensions or self.dim
        if dim not in self._lengths or dim > self.dim:
            lengths = [length for length in self._lengths if length <= self.dim]
            raise InputError(refusal(self.model.id, lengths, dim))
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        answer: Future[FloatArray] = Future()
        with self._lock:
            self._waiting.append(([self._prefixes[kind] + text for text in places], answer))
        self._thread.submit(self._answer_calls)
        vectors = await asyncio.wrap_future(answer)
        return cut(vectors[np.array([places[text] for text in texts], np.int64)], dim)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the tokens of all texts, special tokens included."""
        return sum(self.token_counts(texts))

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, special tokens included."""
        counts = [0] * len(texts)
        for window, owner in zip(*self._windows(texts), strict=True):
            counts[owner] += len(window)
        return counts

    def rest(self) -> None:
        """Give nothing back: it keeps nothing between calls."""

    def close(self) -> None:
        """End the thread after the calls under way, and give the memory back."""
        self._thread.shutdown()
        self._n_bytes = 0
        del self._network

    def _answer_calls(self) -> None:
        """Embed for those who wait, a batch for each in its turn, until nobody waits."""
        while calls := self._calls():
            self._advance(calls)

    def _calls(self) -> list[_Call]:
        """Return the calls under way; those that came since are begun."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for texts, answer in waiting:
            with self._blamed(answer):
                self._running.append(_Call(*self._windows(texts), (len(texts), self._dim), answer))
        self._running = [call for call in self._running if not call.answer.done()]
        return self._running

    @torch.inference_mode()
    def _advance(self, calls: Sequence[_Call]) -> None:
        """Embed the next windows of all calls together; if that fails, each call's alone."""
        shares = [call.next(self._batch_size) for call in calls]
        try:
            vectors = self._forward([window for share in shares for window in share])
        except Exception as error:
            if len(calls) == 1:
                self._fail(calls[0].answer, error)
            else:
                for call in calls:
                    self._advance([call])
            return
        start = 0
        for call, share in zip(calls, shares, strict=True):
            with self._blamed(call.answer):
                if call.take(vectors[start : start + len(share)]):
                    _settle(call.answer, call.vectors())
            start += len(share)

    @contextmanager
    def _blamed(self, answer: Future[FloatArray]) -> Iterator[None]:
        """Answer a call with what goes wrong."""
        try:
            yield
        except Exception as error:
            self._fail(answer, error)

    def _fail(self, answer: Future[FloatArray], error: Exception) -> None:
        """Say why, whatever it is: nobody may be left waiting."""
        reason = str(error) or repr(error)
        _settle(answer, UnavailableError(f"`{self.model.id}` could not embed: {reason}"))

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
        vectors = np.empty((len(windows), self._dim), np.float32)
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


def engine_for(
    model: Model, network_config: PretrainedConfig, config: EmbeddingConfig, device: torch.device
) -> Engine:
    """
    Return what computes a model: `onnx` on a CPU for those that it runs, else `torch`.

    Raises
    ------
    ModelLoadError
        If the settings ask for what this model or device cannot do.
    """
    hindrance = unfit(network_config)
    if device.type != "cpu":
        hindrance = f"it is to run on {device}, and the lab's onnxruntime is for the CPU"
    if config.engine is Engine.onnx and hindrance:
        raise ModelLoadError(
            f"`{model.id}` cannot be run by onnx: {hindrance}. Set LAB_EMBEDDING_ENGINE to auto or "
            "torch, or choose another model or LAB_EMBEDDING_DEVICE=cpu."
        )
    engine = Engine.torch if config.engine is Engine.torch or hindrance else Engine.onnx
    if engine is Engine.torch and config.quantization is EmbeddingQuantization.int8:
        raise ModelLoadError(
            f"`{model.id}` cannot be run in int8: {hindrance or 'the engine is torch'}, and int8 "
            "is onnx's alone. Set LAB_EMBEDDING_QUANTIZATION=none, or LAB_EMBEDDING_ENGINE=auto."
        )
    return engine


def window_of(folder: Path, network_config: PretrainedConfig) -> int:
    """Return the tokens that a model of sentence-transformers reads of a text at once."""
    file = folder / "sentence_bert_config.json"
    own = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return int(own.get("max_seq_length") or network_config.max_position_embeddings)


def _first(*prefixes: str | None) -> str:
    """Return the first prefix that is given; an empty one is."""
    return next((prefix for prefix in prefixes if prefix is not None), "")


def _settle(answer: Future[FloatArray], outcome: FloatArray | Exception) -> None:
    """Give an answer, unless nobody waits for it any more."""
    if not answer.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
