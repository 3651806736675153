"""
The running batch: requests join while others decode, and leave when they end.

A step prefills waiting prompts, first come first served, then decodes one token of every row.
Prompts are prefilled one at a time: no padding, and each gets its first token as soon as its
own prompt is through. What a prompt has in common with an answer that runs, or that ended and is
kept, is copied and not run again.

Where memory is short, the answer that came last is put back: it waits, and is run again from its
tokens when others have ended. A device that runs out of memory all the same is asked for less:
first what is kept goes, then prompts are taken by fewer tokens, then fewer answers run at the same
time; an answer that the device cannot bear alone fails alone. Shape letters: B rows, T tokens,
V vocabulary.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lab.errors import InputError, LabError, NoRoomError, UnavailableError
from lab.pipelines.attention import AttentionMasks
from lab.pipelines.cache import SlotCache
from lab.pipelines.decoding import decoding_step
from lab.pipelines.kept import LEAST_REUSED, KeptPrompts, n_common
from lab.pipelines.request import Request
from lab.pipelines.room import Limits, Room
from lab.pipelines.sampling import choose, likelihoods
from lab.pipelines.vocabulary import Likelihood
from lab.units import sized

LEAST_PREFILL: Final = 64
"""Prompt tokens of a step that a device which runs out of memory is not asked to go below."""


class Batch:
    """
    A scheduler over one model. Not thread-safe: the engine's thread owns it.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model.
    limits : Limits
        Rows that decode at the same time, and prompt tokens that one step takes before it decodes;
        a longer prompt takes several steps.
    kept_prompts : int
        Ended answers whose keys and values are kept.
    room : Room
        What keys and values may take.
    flush : callable
        Called when answers should reach their readers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        limits: Limits,
        kept_prompts: int = 0,
        room: Room | None = None,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._room = room or Room()
        masks = AttentionMasks.of(model)
        self._cache = SlotCache(masks.n_layers, self._room.may_take, self._room.token_bytes)
        self._step = decoding_step(model, masks, self._cache)
        self._is_asynchronous = model.device.type != "cpu"
        self._limits = limits
        self._flush = flush
        self._filling: Request | None = None  # a long prompt; its row follows those of `_rows`
        self._rows: list[Request] = []
        self._kept = KeptPrompts(kept_prompts)
        self._is_short = False  # whether the first that waits found no room
        self._stalled: tuple[Request, float] | None = None  # the first that waits, since when
        self._was_relieved = False  # since the last step that the device bore
        self.waiting: deque[Request] = deque()

    @property
    def n_active(self) -> int:
        """Requests that hold a row."""
        return len(self._running)

    @property
    def requests(self) -> list[Request]:
        """All requests, running and waiting."""
        return [*self._running, *self.waiting]

    @property
    def _running(self) -> list[Request]:
        """Requests that hold a row, in the order of the rows."""
        return [*self._rows, self._filling] if self._filling else self._rows

    @property
    def is_stalled(self) -> bool:
        """True where nothing runs and what waits found no room."""
        return self._stalled is not None

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
        self._note_stall()
        if not (self._rows and self._is_asynchronous):
            self._flush()

    def _drop_cancelled(self) -> None:
        self.waiting = deque(request for request in self.waiting if not request.cancelled)
        if self._filling and self._filling.cancelled:
            self._leave_filling()
        self._remove([i for i, request in enumerate(self._rows) if request.cancelled])

    def _prefill(self) -> None:
        """Prefill prompts in order until the step's budget is spent."""
        budget = self._limits.prefill_tokens
        while request := self._next():
            self._begin(request)
            n_left = len(request.tokens) - request.n_cached
            n_tokens = min(n_left, self._limits.prefill_tokens)
            if n_tokens > budget:
                return
            budget -= n_tokens
            logits = self._attempt([request], partial(self._fill, request, n_tokens))
            if request.finished:
                self._filling = None
            elif logits is not None and n_tokens == n_left:
                self._filling = request.embeddings = None
                self._rows.append(request)
                self._accept(logits)
                self._flush()

    def _next(self) -> Request | None:
        """Return the request to prefill: the one begun, else the first that finds a place."""
        if self._filling is None and self.waiting and len(self._rows) < self._limits.streams:
            self._is_short = not self._has_room(self.waiting[0])
            return None if self._is_short else self.waiting[0]
        return self._filling

    def _has_room(self, *more: Request) -> bool:
        """Return whether requests find room beside those that run; what is kept goes for them."""
        requests = [*self._running, *more]
        size = self._step.size(len(requests), max(len(one.tokens) for one in requests))
        if self._cache.make_room(*size):
            return True
        if not self._cache.fit(*size):
            return False
        self._kept.clear()
        return True

    @property
    def _n_usable(self) -> int:
        """Rows of the cache that answers may have."""
        return self._cache.size[0] - self._step.n_spare

    def _begin(self, request: Request) -> None:
        """Give a request the row after those that run, with what it need not run again."""
        if self._filling is not None:
            return
        self._filling = self.waiting.popleft()
        if not request.times.admitted:
            request.times.admitted = time.perf_counter()
        try:
            request.n_cached = self._reuse(request)
        except torch.OutOfMemoryError:
            self._keep_nothing()
        if not request.n_new:  # else it was put back, and what is reused is of its answer too
            request.n_reused = request.n_cached

    def _reuse(self, request: Request) -> int:
        """Put into the next row what is there of a request's tokens; return how many."""
        row = len(self._rows)
        source, n_reused = self._longest_beginning(request)
        if n_reused > len(self._kept.of(source)) / 2 > 0:  # the same conversation goes on
            n_here = len(self._kept.of(row))
            self._kept.drop(source)
            if source != row:
                self._cache.swap(source, row, max(n_reused, n_here))
                self._kept.move(row, source)
            return n_reused
        self._vacate(row, source)
        if n_reused:
            self._cache.move(source, row, n_reused)
        return n_reused

    def _longest_beginning(self, request: Request) -> tuple[int, int]:
        """
        Return the row that has most of a request's tokens, and how many; the last is always run.

        Only among rows of its owner: how much was there would tell what others asked.
        """
        if request.owner is None:
            return -1, 0
        running = [(i, one) for i, one in enumerate(self._rows) if one.owner == request.owner]
        held = [
            *self._kept.of_owner(request.owner),
            *((i, one.tokens[: one.n_cached]) for i, one in running),
        ]
        tokens = request.tokens[:-1]
        n_reused, row = max(((n_common(tokens, one), i) for i, one in held), default=(0, -1))
        return (row, n_reused) if n_reused >= LEAST_REUSED else (-1, 0)

    def _vacate(self, row: int, source: int) -> None:
        """Move what is kept in a row elsewhere, but not onto `source`."""
        if not self._kept.of(row):
            return
        target = self._kept.free_row(row + 1, self._n_usable)
        if target is None and len(self._kept) < self._kept.most:
            n_rows = row + 1 + len(self._kept)
            self._cache.make_room(*self._step.size(n_rows, self._cache.size[1]))
            target = self._kept.free_row(row + 1, self._n_usable)
        if target is None:
            target = next((one for one in self._kept if one != source), row)
        if target == row or row == source:
            self._kept.drop(row)
            return
        self._cache.move(row, target, len(self._kept.of(row)))
        self._kept.move(row, target)

    def _keep_nothing(self) -> None:
        """Give back what the cache has beyond what runs, and what was kept of earlier steps."""
        self._kept.clear()
        self._step.forget()
        longest = max(len(request.tokens) for request in self._running)
        self._cache.fit(*self._step.size(self.n_active, longest))
        with suppress(torch.OutOfMemoryError):  # what is there stays as large as it is
            self._cache.settle()
        if self._is_asynchronous:
            torch.accelerator.empty_cache()

    def _fill(self, request: Request, n_tokens: int) -> Tensor:
        """Run the next prompt tokens of a request; return the (1, V) logits of the last."""
        start, end = request.n_cached, request.n_cached + n_tokens
        self._cache.focus_row(len(self._rows), start, end)
        device = self._model.device
        output = self._model(
            **self._inputs(request, start, end),
            position_ids=torch.arange(start, end, device=device)[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        request.n_cached = end
        return output.logits[:, -1]

    def _inputs(self, request: Request, start: int, end: int) -> dict[str, Tensor]:
        """Return tokens of a request as the model takes them: pictures as embeddings."""
        device = self._model.device
        if start >= request.n_pictured or request.embed is None:
            return {"input_ids": torch.tensor([request.tokens[start:end]], device=device)}
        if request.embeddings is None:
            request.embeddings = request.embed()
        after = torch.tensor([request.tokens[len(request.input_ids) : end]], device=device)
        answer = self._model.get_input_embeddings()(after.long())
        return {"inputs_embeds": torch.cat([request.embeddings, answer], 1)[:, start:end]}

    def _decode(self) -> None:
        self._put_back_beyond_room()
        if not self._rows:
            return
        logits = self._attempt(self._rows, self._next_logits)
        if self._is_asynchronous:  # readers take what the step before gave while the device works
            self._flush()
        if logits is not None:
            for request in self._rows:
                request.n_cached += 1
            self._accept(logits)
        else:
            self._remove([i for i, request in enumerate(self._rows) if request.finished])

    def _put_back_beyond_room(self) -> None:
        """Put answers back, the last that came first, until the next token of each finds room."""
        while self._rows and not self._has_room():
            self._put_back()

    def _put_back(self) -> None:
        """Let the answer that came last wait again."""
        if self._filling is not None:
            last = self._filling
            self._filling = last.embeddings = None
        else:
            place = max(range(len(self._rows)), key=lambda i: self._rows[i].times.arrived)
            last = self._rows[place]
            self._remove([place], keep=False)
        last.n_cached = 0
        self.waiting.appendleft(last)

    def _note_stall(self) -> None:
        """Remember since when nothing finds room, and give up what has waited for too long."""
        if self.n_active or not (self.waiting and self._is_short):
            self._stalled = None
            return
        request, now = self.waiting[0], time.perf_counter()
        if self._stalled is None or self._stalled[0] is not request:
            self._stalled = request, now
        n_tokens = len(request.tokens)
        n_bytes = self._cache.bytes_of(*self._step.size(1, n_tokens))
        if now - self._stalled[1] < self._room.wait_s and self._room.could_take(n_bytes):
            return
        self.waiting.popleft()
        needed = sized(n_bytes)
        request.fail(
            NoRoomError(
                f"The keys and values of {n_tokens:,} tokens take {needed}, which were not free "
                f"within {self._room.wait_s:g} s, or never can be. Shorten the conversation, try "
                "again when other models are idle, or raise LAB_RESIDENCY_MEMORY_GB."
            )
        )
        self._stalled = None

    def _next_logits(self) -> Tensor:
        """Run the last token of every row; return (B, V) logits."""
        return self._step.logits(
            [request.tokens[-1] for request in self._rows],
            [request.n_cached for request in self._rows],
        )

    def _attempt(self, requests: Sequence[Request], run: Callable[[], Tensor]) -> Tensor | None:
        """
        Run the model for some requests; return None where it failed.

        Requests that failed with it are finished; the others are to be tried again.
        """
        try:
            logits = run()
        except torch.OutOfMemoryError as error:
            if not self._relieve(requests):
                self._fail(requests, error)
        except (RuntimeError, IndexError, ValueError) as error:
            self._fail(requests, error)
        else:
            self._was_relieved = False
            return logits
        return None

    def _fail(self, requests: Sequence[Request], error: Exception) -> None:
        failure: LabError = UnavailableError(f"The model failed on this answer: {error}")
        if isinstance(error, torch.OutOfMemoryError):
            n_tokens = max(len(request.tokens) for request in requests)
            failure = NoRoomError(
                f"The device ran out of memory on this answer of {n_tokens:,} tokens, though no "
                "other ran beside it. Shorten the conversation, or free memory of the device."
            )
        failure.__cause__ = error.with_traceback(None)  # whose frames hold what the pass made
        for request in requests:
            request.fail(failure)

    def _relieve(self, requests: Sequence[Request]) -> bool:
        """Ask less of a device that ran out of memory; return False where nothing is left."""
        if not self._was_relieved:
            self._was_relieved = True
            self._keep_nothing()
            return True
        limits = self._limits
        fewer = max(limits.prefill_tokens // 2, LEAST_PREFILL)
        if self._filling in requests and fewer < limits.prefill_tokens:
            self._learn(Limits(limits.streams, fewer))
            return True
        if self.n_active > 1:
            n_left = self.n_active // 2
            while self.n_active > n_left:
                self._put_back()
            self._learn(Limits(n_left, limits.prefill_tokens))
            return True
        return False

    def _learn(self, limits: Limits) -> None:
        """Do less at once from now on."""
        self._limits = limits
        self._room.learn(limits)

    def _accept(self, logits: Tensor) -> None:
        """Give the last rows the tokens that their (B, V) logits yield; ended rows leave."""
        first = len(self._rows) - logits.shape[0]
        rows = self._rows[first:]
        tokens = self._chosen(rows, logits)
        found = zip(rows, tokens, self._likely(rows, logits, tokens), strict=True)
        for row, (request, token, likelihood) in enumerate(found, start=first):
            if token < 0:
                self._cache.wipe(row)
                request.n_cached = 0
                request.fail(no_token(request))
            elif not request.finished:
                request.accept(token, likelihood)
        self._remove([i for i, request in enumerate(self._rows) if request.finished])

    def _chosen(self, rows: Sequence[Request], logits: Tensor) -> list[int]:
        """Return the next token of each row; where memory is short, one row after the other."""
        try:
            return choose(logits, [request.sampler for request in rows])
        except torch.OutOfMemoryError as error:
            if not rows[1:]:
                self._fail(rows, error)
                return [0]
            self._keep_nothing()
            each = zip(rows, logits.split(1), strict=True)
            return [token for request, own in each for token in self._chosen([request], own)]

    def _likely(
        self, rows: Sequence[Request], logits: Tensor, tokens: Sequence[int]
    ) -> list[Likelihood | None]:
        """Return how likely tokens were; where memory is short, who asked for that fails."""
        try:
            return likelihoods(logits, tokens, [request.n_top for request in rows])
        except torch.OutOfMemoryError as error:
            self._fail([request for request in rows if request.n_top is not None], error)
            return [None] * len(rows)

    def _leave_filling(self) -> None:
        """Take out the request that is being prefilled; what it has run is kept."""
        request, self._filling = self._filling, None
        if request is not None:
            self._keep(len(self._rows), request)

    def _keep(self, row: int, request: Request) -> None:
        """Note that a row has the tokens of a request that ended."""
        if request.owner is not None:
            self._kept.keep(row, request.tokens[: request.n_cached], request.owner)

    def _remove(self, places: Sequence[int], *, keep: bool = True) -> None:
        """Take rows out; the last rows move onto their places, and theirs are kept after those."""
        for place in reversed(places):
            ended, last = self._rows[place], self._rows.pop()
            row = len(self._rows)
            if place < row:
                self._rows[place] = last
                self._exchange(row, place, last, ended)
            if self._filling:
                self._exchange(row + 1, row, self._filling, ended)
                row += 1
            if keep:
                self._keep(row, ended)

    def _exchange(self, source: int, target: int, moving: Request, ended: Request) -> None:
        """Move a request's row onto that of one that ended, whose tokens come to its place."""
        try:
            self._cache.swap(source, target, max(moving.n_cached, ended.n_cached))
        except torch.OutOfMemoryError:  # a copy of a row for the moment
            self._cache.move(source, target, moving.n_cached)
            ended.n_cached = 0


def no_token(request: Request) -> LabError:
    """Return the error of a request for which no next token was found."""
    constraint = request.sampler.constraint
    if constraint and constraint.problem:
        return InputError(f"The schema of this answer is too complex: {constraint.problem}.")
    return UnavailableError("The model gave no finite score for a next token.")
