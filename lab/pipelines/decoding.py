"""
One decoding step of every running answer: each row's last token in, the scores of its next out.

On CUDA the step is recorded as a graph for each size and replayed: a decoder of 32 layers is some
700 kernels, and the host needs longer to launch them one by one than the device to run them.

Shape letters: B rows, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from lab.pipelines.attention import AttentionMasks
from lab.pipelines.cache import GRAIN, SlotCache
from lab.pipelines.layer import fused_logits, is_fused
from lab.pipelines.offload import is_offloaded

ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""What a recording may use; cuDNN, the fastest for one token a row, plans each size once."""


log = structlog.get_logger(__name__)


class DecodingStep(Protocol):
    """Runs a model on the last token of every row."""

    n_spare: int
    """Rows at the end of the cache that no answer may have."""

    def size(self, n_rows: int, n_tokens: int) -> tuple[int, int]:
        """Return the rows and tokens of the cache that answers of that size need."""

    def forget(self) -> None:
        """Give back what was kept from earlier steps."""

    def logits(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """
        Run one token of each of the first rows of the cache.

        Parameters
        ----------
        tokens : sequence of B int
            The last token of each row.
        positions : sequence of B int
            Where it goes: the tokens that the row has in the cache.

        Returns
        -------
        Tensor of shape (B, V)
            Scores of the next token, good until the next call.
        """


class EagerStep:
    """Launch the model's operations one by one."""

    n_spare = 0

    def __init__(self, model: PreTrainedModel, masks: AttentionMasks, cache: SlotCache) -> None:
        self._model = model
        self._masks = masks
        self._cache = cache

    def size(self, n_rows: int, n_tokens: int) -> tuple[int, int]:
        """Return what answers of a size need of the cache; see `DecodingStep`."""
        return n_rows, n_tokens

    def forget(self) -> None:
        """Give nothing back: nothing is kept."""

    def logits(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Run one token of each row; see `DecodingStep`."""
        device = self._model.device
        places = torch.tensor(positions, device=device)
        n_tokens = self._cache.focus_rows(places, max(positions))
        inputs = torch.tensor(tokens, device=device)
        return forward(self._model, self._masks, self._cache, inputs, places, n_tokens)


@dataclass(frozen=True, slots=True)
class Recording:
    """A step on the device: what it reads, what it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor  # (3, B): tokens, rows of the cache, positions
    logits: Tensor  # (B, V)


class RecordedStep:
    """
    Replay the model's operations as a CUDA graph, recorded once for each size.

    Rows are filled up to the next size with rows that nobody reads; what those write goes to the
    last row of the cache, which no answer has. A model that cannot be recorded, because the host
    waits for the device within a step, is launched instead; the log says so.
    """

    n_spare = 1

    def __init__(self, model: PreTrainedModel, masks: AttentionMasks, cache: SlotCache) -> None:
        self._model = model
        self._masks = masks
        self._cache = cache
        self._eager = EagerStep(model, masks, cache)
        self._is_recordable = True
        self._recordings: dict[tuple[int, int], Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._n_resized = 0  # of the cache, when the first recording was made

    def size(self, n_rows: int, n_tokens: int) -> tuple[int, int]:
        """Return what answers of a size need of the cache; see `DecodingStep`."""
        return row_size(n_rows) + self.n_spare, view_size(n_tokens)

    def logits(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Run one token of each row; see `DecodingStep`."""
        if not self._is_recordable:
            return self._eager.logits(tokens, positions)
        n_rows, n_tokens = row_size(len(tokens)), view_size(max(positions) + 1)
        buffers = self._cache.size
        if self._cache.n_resized != self._n_resized:
            self.forget()
            self._n_resized = self._cache.n_resized
        spare = [buffers[0] - 1] * (n_rows - len(tokens))
        inputs = torch.tensor(
            [
                [*tokens, *(0 for _ in spare)],
                [*range(len(tokens)), *spare],
                [*positions, *(0 for _ in spare)],
            ]
        )
        recording = self._recordings.get((n_rows, n_tokens))
        if recording is None:
            recording = self._record(inputs.to(self._model.device), n_tokens)
            if recording is None:
                return self._eager.logits(tokens, positions)
            self._recordings[n_rows, n_tokens] = recording
        recording.inputs.copy_(inputs)
        recording.graph.replay()
        return recording.logits[: len(tokens)]

    def forget(self) -> None:
        """Give the recordings back."""
        self._recordings.clear()
        self._pool = torch.cuda.graph_pool_handle()  # a pool ends with the last of its graphs

    def _record(self, inputs: Tensor, n_tokens: int) -> Recording | None:
        """Return a recording, or None for a model that cannot be recorded."""
        graph = torch.cuda.CUDAGraph()
        with sdpa_kernel(ATTENTION):
            self._run(inputs, n_tokens)  # makes buffers and handles, which a recording may not
            try:
                with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                    logits = self._run(inputs, n_tokens)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._is_recordable = False
                reason = str(error).partition("\n")[0]
                log.warning("not recorded", model=self._model.config.name_or_path, reason=reason)
                return None
        return Recording(graph, inputs, logits)

    def _run(self, inputs: Tensor, n_tokens: int) -> Tensor:
        tokens, rows, positions = inputs
        self._cache.focus_scattered(rows, positions, n_tokens)
        return forward(self._model, self._masks, self._cache, tokens, positions, n_tokens)


def decoding_step(model: PreTrainedModel, masks: AttentionMasks, cache: SlotCache) -> DecodingStep:
    """Return how a model decodes on its device."""
    is_recorded = model.device.type == "cuda" and not is_offloaded(model)
    kind = RecordedStep if is_recorded else EagerStep
    return kind(model, masks, cache)


def forward(
    model: PreTrainedModel,
    masks: AttentionMasks,
    cache: SlotCache,
    tokens: Tensor,
    positions: Tensor,
    n_tokens: int,
) -> Tensor:
    """Return (B, V) logits of (B,) tokens at (B,) positions, `n_tokens` keys in view."""
    mask = masks.decoding(positions, n_tokens)
    if is_fused(model):
        return fused_logits(model, tokens, positions, mask, cache)
    output = model(
        input_ids=tokens[:, None],
        position_ids=positions[:, None],
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def row_size(n_rows: int) -> int:
    """Return the rows that are recorded for some: 1, 2, 4, then multiples of 8."""
    return next((size for size in (1, 2, 4) if n_rows <= size), -(-n_rows // 8) * 8)


def view_size(n_tokens: int) -> int:
    """Return the tokens in view that are recorded for some: a power of two, or one and a half."""
    size = 4 * GRAIN
    while size < n_tokens:
        size *= 2
    return size * 3 // 4 if size > 4 * GRAIN and n_tokens <= size * 3 // 4 else size
