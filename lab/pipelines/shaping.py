"""Change the logits of one answer before its next token is chosen: penalties and bias."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lab.schemas.generation_parameters import GenerationParameters


class Shaping:
    """
    Penalties and bias of one answer, and the tokens that they count.

    Repetition is penalised for prompt and answer and goes first, as in transformers; frequency and
    presence count the answer alone, as OpenAI defines them.

    Parameters
    ----------
    parameters : GenerationParameters
        What was asked for.
    prompt : sequence of int
        Token ids of the prompt.
    """

    def __init__(self, parameters: GenerationParameters, prompt: Sequence[int]) -> None:
        self._frequency = parameters.frequency_penalty
        self._presence = parameters.presence_penalty
        self._repetition = parameters.repetition_penalty
        self._bias = {int(token): bias for token, bias in parameters.logit_bias.items()}
        self._prompt = prompt if self._repetition != 1 else ()
        self._counts: Counter[int] = Counter()
        # (V,) tensors, made at the first token on the device of the logits
        self._offsets: Tensor | None = None  # what is added to each logit
        self._seen: Tensor | None = None  # True for the tokens of prompt and answer

    @classmethod
    def of(cls, parameters: GenerationParameters, prompt: Sequence[int]) -> "Shaping | None":
        """Return the shaping of a request; None where it asks for none."""
        penalised = parameters.frequency_penalty or parameters.presence_penalty
        repeated = parameters.repetition_penalty != 1
        return cls(parameters, prompt) if penalised or repeated or parameters.logit_bias else None

    def shape(self, row: Tensor) -> None:
        """Change a (V,) row of logits in place."""
        if self._repetition != 1:
            seen = self._mask(row)
            penalised = torch.where(row < 0, row * self._repetition, row / self._repetition)
            torch.where(seen, penalised, row, out=row)
        if self._offsets is None:
            self._offsets = _filled(row, self._bias)
        row += self._offsets

    def take(self, token: int) -> None:
        """Count the token that was chosen; -1 is none."""
        if token < 0:
            return
        self._counts[token] += 1
        penalty = self._frequency * self._counts[token] + self._presence
        if self._offsets is not None and penalty:
            self._offsets[token] = self._bias.get(token, 0) - penalty
        if self._seen is not None:
            self._seen[token] = True

    def _mask(self, row: Tensor) -> Tensor:
        if self._seen is None:
            self._seen = torch.zeros_like(row, dtype=torch.bool)
            self._seen[torch.tensor(self._prompt, dtype=torch.long, device=row.device)] = True
        return self._seen


def _filled(row: Tensor, values: Mapping[int, float]) -> Tensor:
    """Return zeros of the row's shape but for these values by index."""
    filled = torch.zeros_like(row)
    if values:
        filled[list(values)] = torch.tensor(list(values.values()), device=row.device)
    return filled
