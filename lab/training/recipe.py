"""The recipe of `lab-tiny`: every number that its weights depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one mixture."""

    name: str
    n_tokens: int
    """Tokens read, padding not counted."""
    mix: Mapping[str, float]
    learning_rate: tuple[float, float] = (1.0, 1.0)
    """Factor on the learning rates at the start and at the end."""
    max_length: int = 1024
    n_layers: int = 4
    """Layers to grow to before it starts."""


EVERYTHING: Mapping[str, float] = {
    "repeat": 0.5,
    "pairs": 1,
    "few": 1,
    "some": 2,
    "many": 2,
    "changes": 3,
    "memories": 3,
    "distant": 5,
    "quiz": 7,
    "idle": 0.3,
    "tools": 6,
    "lab": 2,
    "json": 4,
    "think": 1,
    "intent": 4,
    "title": 6,
    "summary": 8,
    "listing": 7,
}
"""Weight of each kind of dialogue."""

HARDEST: Mapping[str, float] = {
    **EVERYTHING,
    "repeat": 0.3,
    "few": 0.5,
    "some": 1,
    "many": 6,
    "changes": 6,
    "memories": 4,
    "quiz": 10,
    "idle": 0.2,
    "tools": 3,
    "lab": 1.5,
    "intent": 2,
    "title": 5,
    "summary": 14,
    "listing": 8,
}
"""The same kinds, more of those that are learnt last: which of many facts is asked for, and lists."""

POLISH: Mapping[str, float] = {
    **HARDEST,
    "few": 0.5,
    "many": 3,
    "changes": 3,
    "memories": 2,
    "distant": 3,
    "quiz": 6,
    "title": 9,
    "summary": 16,
    "listing": 5,
}
"""What was still short at the end: titles and long summaries."""

TOOLS: Mapping[str, float] = {
    **POLISH,
    "tools": 10,
    "lab": 3,
    "distant": 4,
    "json": 5,
}
"""What tools return, which the phases before had let fade."""

LAB_TINY: tuple[Phase, ...] = (
    Phase("short windows", 1_500_000, EVERYTHING, max_length=512),
    Phase("everything", 12_500_000, EVERYTHING, learning_rate=(1.0, 0.01)),
    Phase("deeper", 27_000_000, EVERYTHING, learning_rate=(0.8, 0.01), n_layers=6),
    Phase("hardest", 26_000_000, HARDEST, learning_rate=(0.7, 0.005), n_layers=6),
    Phase("polish", 3_600_000, POLISH, learning_rate=(0.15, 0.005), n_layers=6),
    Phase("tools", 4_400_000, TOOLS, learning_rate=(0.25, 0.005), n_layers=6),
)
"""The phases of `lab-tiny`."""


@dataclass(frozen=True)
class Recipe:
    """A model, its optimiser and its phases."""

    seed: int = 2026
    vocab_size: int = 2048
    tokenizer_seed: int = 7
    tokenizer_dialogues: int = 20_000
    hidden_size: int = 192
    intermediate_size: int = 512
    n_heads: int = 6
    rope_theta: float = 1e9
    """Large, so that most dimensions of a head compare tokens wherever they stand in the window."""
    batch_tokens: int = 4096
    muon_lr: float = 0.005
    """Of the matrices; four times as much is faster for random weights, and wipes out what is written
    into these. The same holds for `adam_lr`."""
    adam_lr: float = 0.001
    weight_decay: float = 0.01
    warmup_steps: int = 30
    phases: tuple[Phase, ...] = LAB_TINY

    @property
    def n_tokens(self) -> int:
        """Tokens that the whole training reads."""
        return sum(phase.n_tokens for phase in self.phases)

    def scaled(self, share: float) -> "Recipe":
        """Return the recipe with tokenizer and phases made from this share of what they read.

        Examples
        --------
        >>> Recipe().scaled(0.5).n_tokens == Recipe().n_tokens // 2
        True
        """
        phases = (replace(phase, n_tokens=int(phase.n_tokens * share)) for phase in self.phases)
        n_dialogues = int(self.tokenizer_dialogues * share)
        return replace(self, tokenizer_dialogues=n_dialogues, phases=tuple(phases))
