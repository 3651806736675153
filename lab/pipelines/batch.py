"""
The running batch: requests join while others decode, and leave when they end.

A step prefills waiting prompts, first come first served, then decodes one token of every row.
Prompts are prefilled one at a time: no padding, and each gets its first token as soon as its
own prompt is through. Shape letters: B rows, T tokens, V vocabulary.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lab.errors import InputError, LabError, UnavailableError
from lab.pipelines.attention import AttentionMasks
from lab.pipelines.cache import SlotCache
from lab.pipelines.decoding import decoding_step
from lab.pipelines.request import Request
from lab.pipelines.sampling import choose, likelihoods


class Batch:
    """
    A scheduler over one model. Not thread-safe: the engine's thread owns it.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model.
    max_streams : int
        Rows that decode at the same time.
    prefill_tokens : int
        Prompt tokens that one step takes before it decodes; a longer prompt takes several steps.
    flush : callable
        Called when answers should reach their readers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        max_streams: int,
        prefill_tokens: int,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        masks = AttentionMasks.of(model)
        self._cache = SlotCache(masks.n_layers)
        self._step = decoding_step(model, masks, self._cache)
        self._is_asynchronous = model.device.type != "cpu"
        self._max_streams = max_streams
        self._prefill_tokens = prefill_tokens
        self._flush = flush
        self._filling: Request | None = None  # a long prompt; its row follows those of `_rows`
        self._rows: list[Request] = []
        self.waiting: deque[Request] = deque()

    @property
    def n_active(self) -> int:
        """Requests that hold a row."""
        return len(self._rows) + (self._filling is not None)

    @property
    def requests(self) -> list[Request]:
        """All requests, running and waiting."""
        filling = [self._filling] if self._filling else []
        return [*self._rows, *filling, *self.waiting]

    @property
    def n_bytes(self) -> int:
        """Bytes of keys and values."""
        return self._cache.n_bytes

    @torch.inference_mode()
    def step(self) -> None:
        """Prefill what the budget allows, then decode one token of every row."""
        self._drop_cancelled()
        self._prefill()
        if self._rows:
            self._decode()
        if not (self._rows and self._is_asynchronous):
            self._flush()

    def _drop_cancelled(self) -> None:
        self.waiting = deque(request for request in self.waiting if not request.cancelled)
        if self._filling and self._filling.cancelled:
            self._filling = None
        self._remove([i for i, request in enumerate(self._rows) if request.cancelled])

    def _prefill(self) -> None:
        """Prefill prompts in order until the step's budget is spent."""
        budget = self._prefill_tokens
        while request := self._next():
            n_left = len(request.input_ids) - request.n_filled
            n_tokens = min(n_left, self._prefill_tokens)
            if n_tokens > budget:
                return
            budget -= n_tokens
            self._begin(request)
            logits = self._attempt([request], partial(self._fill, request, n_tokens))
            if logits is None or n_tokens == n_left:
                self._filling = None
            if logits is not None and n_tokens == n_left:
                self._rows.append(request)
                self._accept(logits)
                self._flush()

    def _next(self) -> Request | None:
        """Return the request to prefill: the one begun, else the first that finds a row."""
        if self._filling is None and self.waiting and len(self._rows) < self._max_streams:
            return self.waiting[0]
        return self._filling

    def _begin(self, request: Request) -> None:
        if self._filling is None:
            self._filling = self.waiting.popleft()
            request.times.admitted = time.perf_counter()

    def _fill(self, request: Request, n_tokens: int) -> Tensor:
        """Run the next prompt tokens of a request; return the (1, V) logits of the last."""
        start, end = request.n_filled, request.n_filled + n_tokens
        self._cache.focus_row(len(self._rows), start, end)
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([request.input_ids[start:end]], device=device),
            position_ids=torch.arange(start, end, device=device)[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        request.n_filled = end
        return output.logits[:, -1]

    def _decode(self) -> None:
        logits = self._attempt(self._rows, self._next_logits)
        if self._is_asynchronous:  # readers take what the step before gave while the device works
            self._flush()
        if logits is None:
            self._rows = []
        else:
            self._accept(logits)

    def _next_logits(self) -> Tensor:
        """Run the last token of every row; return (B, V) logits."""
        return self._step.logits(
            [request.last_token for request in self._rows],
            [request.n_cached for request in self._rows],
        )

    def _attempt(self, requests: Sequence[Request], run: Callable[[], Tensor]) -> Tensor | None:
        """Run the model; when it fails, fail these requests and return None."""
        try:
            return run()
        except (RuntimeError, IndexError, ValueError) as error:
            failure = UnavailableError(f"The model failed on this answer: {error}")
            failure.__cause__ = error
            for request in requests:
                request.fail(failure)
            return None

    def _accept(self, logits: Tensor) -> None:
        """Give the last rows the tokens that their (B, V) logits yield; ended rows leave."""
        first = len(self._rows) - logits.shape[0]
        rows = self._rows[first:]
        samplers = [request.sampler for request in rows]
        tokens = choose(logits, samplers)
        likely = likelihoods(logits, tokens, [request.n_top for request in rows])
        found = zip(rows, tokens, likely, strict=True)
        for row, (request, token, likelihood) in enumerate(found, start=first):
            if token < 0:
                self._cache.wipe(row)
                request.fail(no_token(request))
            else:
                request.accept(token, likelihood)
        self._remove([i for i, request in enumerate(self._rows) if request.finished])

    def _remove(self, places: Sequence[int]) -> None:
        """Take rows out; the last rows move onto their places."""
        for place in reversed(places):
            last = self._rows.pop()
            if place < len(self._rows):
                self._rows[place] = last
                self._cache.move(len(self._rows), place, last.n_cached)
            if self._filling:
                self._cache.move(len(self._rows) + 1, len(self._rows), self._filling.n_filled)


def no_token(request: Request) -> LabError:
    """Return the error of a request for which no next token was found."""
    constraint = request.sampler.constraint
    if constraint and constraint.problem:
        return InputError(f"The schema of this answer is too complex: {constraint.problem}.")
    return UnavailableError("The model gave no finite score for a next token.")
