"""
Choose the next token of each row of a batch.

A row's token depends on its own logits, parameters and random numbers only, never on its
neighbours. Shape letters: B rows, V vocabulary.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.pipelines.constraint import Constraint, forbid
from lab.pipelines.shaping import Shaping
from lab.pipelines.vocabulary import Likelihood
from lab.schemas.generation_parameters import GenerationParameters


@dataclass(frozen=True, slots=True)
class Sampler:
    """How one answer is sampled; its random numbers are its own."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    numbers: random.Random
    shaping: Shaping | None = None
    """What changes logits before a token is chosen."""

    constraint: Constraint | None = None
    """What the answer is held to."""

    n_top: int | None = None
    """Likeliest tokens to name beside the log probability of each; None for neither."""

    @classmethod
    def of(
        cls,
        parameters: GenerationParameters,
        prompt: Sequence[int] = (),
        index: int = 0,
        constraint: Constraint | None = None,
    ) -> "Sampler":
        """
        Return the sampler of a request; without a seed it draws one.

        Parameters
        ----------
        parameters : GenerationParameters
            What was asked for.
        prompt : sequence of int
            Token ids that repetition is penalised for, beside those of the answer.
        index : int
            Which of several answers: the i-th has the random numbers of seed + i.
        constraint : Constraint, optional
            What the answer is held to.
        """
        seed = None if parameters.seed is None else parameters.seed + index
        return cls(
            temperature=parameters.temperature,
            top_p=parameters.top_p,
            top_k=parameters.top_k,
            min_p=parameters.min_p,
            numbers=random.Random(seed),
            shaping=Shaping.of(parameters, prompt),
            constraint=constraint,
            n_top=parameters.top_logprobs if parameters.logprobs else None,
        )


def choose(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """
    Return the next token of each row.

    Parameters
    ----------
    logits : Tensor of shape (B, V)
        Scores of the next token.
    samplers : sequence of B Sampler
        One for each row.

    Returns
    -------
    list of B int
        Token ids; -1 for a row whose logits are not finite.
    """
    shaped = [i for i, s in enumerate(samplers) if s.shaping or s.constraint]
    if shaped:
        logits = logits.float() if logits.dtype != torch.float32 else logits.clone()
        shape(logits, shaped, samplers)
    best, greedy = logits.max(dim=-1)  # a row with a NaN has a NaN maximum
    tokens: list[int] = greedy.where(best.isfinite(), -1).tolist()
    drawn = [i for i, sampler in enumerate(samplers) if sampler.temperature > 0]
    if drawn:
        for i, token in zip(drawn, draw(logits[drawn], [samplers[i] for i in drawn]), strict=True):
            tokens[i] = token if tokens[i] >= 0 else -1
    for i in shaped:
        for part in (samplers[i].shaping, samplers[i].constraint):
            if part:
                part.take(tokens[i])
    return tokens


def shape(logits: Tensor, rows: Sequence[int], samplers: Sequence[Sampler]) -> None:
    """Change (B, V) logits in place as the samplers of these rows ask."""
    for i in rows:
        if shaping := samplers[i].shaping:
            shaping.shape(logits[i])
    held = [(i, constraint) for i in rows if (constraint := samplers[i].constraint)]
    if held:
        forbid(logits, [i for i, _ in held], [constraint for _, constraint in held])


def likelihoods(
    logits: Tensor, tokens: Sequence[int], n_tops: Sequence[int | None]
) -> list[Likelihood | None]:
    """
    Return how likely the model held each row's token, and so many others; None for neither.

    It is of the softmax of the (B, V) logits as they come from the model: before temperature,
    penalties, bias and format, which change what is chosen and not what the model believes.
    """
    found: list[Likelihood | None] = [None] * len(tokens)
    asked = [(i, n) for i, n in enumerate(n_tops) if n is not None and tokens[i] >= 0]
    if not asked:
        return found
    scores = logits[[i for i, _ in asked]].float().log_softmax(dim=-1)
    n_top = min(max(n for _, n in asked), scores.shape[1])
    values, ids = scores.topk(n_top, dim=-1)
    chosen = torch.tensor([[tokens[i]] for i, _ in asked], device=scores.device)
    own = scores.gather(1, chosen).squeeze(1).tolist()
    for (i, n), logprob, top_ids, top_values in zip(
        asked, own, ids.tolist(), values.tolist(), strict=True
    ):
        found[i] = Likelihood(
            tokens[i], logprob, list(zip(top_ids[:n], top_values[:n], strict=True))
        )
    return found


def draw(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """
    Draw a token for each row of (B, V) logits by one uniform number of its sampler.

    The distribution is inverted in the order of token ids: rounding moves a border by its own
    size, where an order by probability would swap equals.
    """
    temperature = torch.tensor([s.temperature for s in samplers], device=logits.device)
    below_best = logits.float() - logits.max(dim=-1, keepdim=True).values
    scores = below_best / temperature[:, None]
    scores = keep_top_k(scores, [s.top_k for s in samplers])
    probabilities = keep_top_p(scores.softmax(dim=-1), [s.top_p for s in samplers])
    probabilities = keep_min_p(probabilities, [s.min_p for s in samplers])
    sums = probabilities.double().cumsum(dim=-1)  # (B, V)
    numbers = torch.tensor([s.numbers.random() for s in samplers], dtype=torch.float64)
    targets = numbers.to(logits.device)[:, None] * sums[:, -1:]
    tokens: list[int] = torch.searchsorted(sums, targets, right=True).squeeze(1).tolist()
    return [min(token, logits.shape[1] - 1) for token in tokens]


def keep_top_k(scores: Tensor, top_k: Sequence[int]) -> Tensor:
    """Set all but the `top_k` largest of each row of (B, V) scores to -inf; 0 keeps all."""
    n_vocabulary = scores.shape[1]
    widths = [k if 0 < k < n_vocabulary else n_vocabulary for k in top_k]
    limited = [i for i, width in enumerate(widths) if width < n_vocabulary]
    if not limited:
        return scores
    scores = scores.clone()
    largest = scores[limited].topk(max(widths[i] for i in limited), dim=-1).values
    last = torch.tensor([widths[i] - 1 for i in limited], device=scores.device)
    threshold = largest.gather(1, last[:, None])
    scores[limited] = scores[limited].masked_fill(scores[limited] < threshold, -torch.inf)
    return scores


def keep_top_p(probabilities: Tensor, top_p: Sequence[float]) -> Tensor:
    """
    Zero all but the smallest set of most likely tokens of (B, V) that reaches `top_p`.

    References
    ----------
    .. [1] Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020, section 3.1.
    """
    limited = [i for i, p in enumerate(top_p) if p < 1]
    if not limited:
        return probabilities
    rows = probabilities[limited]
    ordered = rows.sort(dim=-1, descending=True).values
    before = ordered.double().cumsum(dim=-1) - ordered  # probability of all likelier tokens
    wanted = torch.tensor([top_p[i] for i in limited], device=rows.device, dtype=torch.float64)
    n_kept = (before < wanted[:, None]).sum(dim=-1, keepdim=True)
    threshold = ordered.gather(1, n_kept - 1)
    probabilities = probabilities.clone()
    probabilities[limited] = rows.masked_fill(rows < threshold, 0)
    return probabilities


def keep_min_p(probabilities: Tensor, min_p: Sequence[float]) -> Tensor:
    """
    Zero the tokens of (B, V) whose probability is below `min_p` times the largest.

    References
    ----------
    .. [1] Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM
       Outputs", ICLR 2025, section 3.
    """
    limited = [i for i, p in enumerate(min_p) if p > 0]
    if not limited:
        return probabilities
    rows = probabilities[limited]
    shares = torch.tensor([min_p[i] for i in limited], device=rows.device)
    threshold = rows.max(dim=-1, keepdim=True).values * shares[:, None]
    probabilities = probabilities.clone()
    probabilities[limited] = rows.masked_fill(rows < threshold, 0)
    return probabilities
