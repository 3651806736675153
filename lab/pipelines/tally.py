"""How many tokens a model has processed."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Tokens of a model; outlives the engines that process them, one after the other."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
