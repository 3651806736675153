"""One answer on its way through the batch."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from torch import Tensor

from lab.errors import LabError
from lab.pipelines.guards import Watch
from lab.pipelines.sampling import Sampler
from lab.pipelines.split import Splitter
from lab.pipelines.text import Detokeniser, StopMatcher
from lab.pipelines.vocabulary import Likelihood
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.finish_reason import FinishReason
from lab.schemas.guard import Guard
from lab.schemas.prompt_tokens_details import PromptTokensDetails
from lab.schemas.token_logprob import TokenLogprob
from lab.schemas.usage import Usage

Outcome = ChatDelta | LabError
"""What a reader gets: a piece of the answer, or why there is none."""


@dataclass(slots=True)
class Times:
    """Moments of a request, in seconds of the monotonic clock."""

    arrived: float = field(default_factory=time.perf_counter)
    admitted: float = 0.0
    first_token: float = 0.0


@dataclass(slots=True, eq=False)
class Request:
    """
    A prompt and the answer that grows from it.

    `deliver` takes what the reader gets, and `describe` writes out how likely a token was; both are
    called on the engine's thread. Of several answers to one prompt, `index` says which it is.
    """

    input_ids: list[int]
    max_new_tokens: int
    eos_ids: frozenset[int]
    sampler: Sampler
    detokeniser: Detokeniser
    stops: StopMatcher
    splitter: Splitter
    deliver: Callable[["Request", Outcome], None]
    describe: Callable[[Likelihood], TokenLogprob] | None = None
    owner: Hashable = None
    """Whose it is: what they asked before may be reused for it; None = nothing may."""
    embed: Callable[[], Tensor] | None = None
    n_pictured: int = 0
    """Tokens of the prompt up to the end of its last picture; of those `embed` tells more."""
    embeddings: Tensor | None = None
    index: int = 0
    watch: Watch | None = None
    times: Times = field(default_factory=Times)
    tokens: list[int] = field(init=False)
    """The prompt, and the answer so far."""
    n_cached: int = 0
    """Tokens of these whose keys and values are in the cache."""
    n_reused: int = 0
    """Tokens of the prompt that were in the cache before it came."""
    cancelled: bool = False
    finished: bool = False
    logprobs: list[TokenLogprob] = field(default_factory=list)  # not delivered yet

    def __post_init__(self) -> None:
        self.tokens = list(self.input_ids)

    @property
    def n_new(self) -> int:
        """Tokens of the answer."""
        return len(self.tokens) - len(self.input_ids)

    @property
    def n_top(self) -> int | None:
        """Likeliest tokens to name beside how likely the next one was; None for neither."""
        if self.sampler.n_top is None and self.watch and self.watch.listens:
            return 0
        return self.sampler.n_top

    def accept(self, token: int, likelihood: Likelihood | None = None) -> None:
        """Take the next token: deliver its text, and finish where the answer ends."""
        if not self.n_new:
            self.times.first_token = time.perf_counter()
        self.tokens.append(token)
        if token in self.eos_ids:
            self._finish(FinishReason.stop)
            return
        if likelihood and self.describe and self.sampler.n_top is not None:
            self.logprobs.append(self.describe(likelihood))
        text = self.detokeniser.push(token)
        self._split(self.stops.push(text))
        constraint = self.sampler.constraint
        if self.stops.stopped or (constraint and constraint.complete):
            self._finish(FinishReason.stop)
        elif guard := self._watched(token, text, likelihood):
            self._finish(FinishReason.content_filter, guard)
        elif self.n_new >= self.max_new_tokens:
            self._finish(FinishReason.length)

    def _watched(self, token: int, text: str, likelihood: Likelihood | None) -> Guard | None:
        """Return the guard that stops the answer here."""
        if self.watch is None:
            return None
        return self.watch.take(token, text, likelihood.logprob if likelihood else None)

    def fail(self, error: LabError) -> None:
        """End the request with an error."""
        if not self.finished:
            self.finished = True
            self.deliver(self, error)

    def _split(self, text: str) -> None:
        if text:
            for delta in self.splitter.push(text):
                self._deliver(delta)

    def _finish(self, reason: FinishReason, guard: Guard | None = None) -> None:
        self.finished = True
        if not self.stops.stopped:
            self._split(self.stops.push(self.detokeniser.finish()))
            self._split(self.stops.finish())
        for delta in self.splitter.finish():
            self._deliver(delta)
        if self.splitter.n_calls and reason == FinishReason.stop:
            reason = FinishReason.tool_calls
        self._deliver(ChatDelta(finish_reason=reason, guard=guard, usage=self._usage()))

    def _deliver(self, delta: ChatDelta) -> None:
        if self.index or self.logprobs:
            changes = {"index": self.index, "logprobs": self.logprobs}
            delta, self.logprobs = delta.model_copy(update=changes), []
        self.deliver(self, delta)

    def _usage(self) -> Usage:
        now, times = time.perf_counter(), self.times
        return Usage(
            prompt_tokens=len(self.input_ids),
            completion_tokens=self.n_new,
            total_tokens=len(self.tokens),
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self.n_reused),
            queue_ms=(times.admitted - times.arrived) * 1000,
            first_token_ms=(times.first_token - times.admitted) * 1000,
            total_ms=(now - times.arrived) * 1000,
        )
