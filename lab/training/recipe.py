"""The recipe of `lab-tiny`: every number that its weights depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class Recipe:
    """A model, its optimiser and its phases."""

    seed: int = 2026
    vocab_size: int = 2048
    tokenizer_seed: int = 7
    tokenizer_dialogues: int = 20_000
    hidden_size: int = 192
    intermediate_size: int = 512
    n_layers: int = 4
    n_heads: int = 6
    rope_theta: float = 100_000.0
    batch_tokens: int = 4096
    muon_lr: float = 0.02
    adam_lr: float = 0.003
    weight_decay: float = 0.01
    warmup_steps: int = 30
    phases: tuple[Phase, ...] = field(default_factory=lambda: LAB_TINY)


LAB_TINY: tuple[Phase, ...] = (
    Phase("copying", 1_500_000, {"repeat": 2, "pairs": 3, "few": 3, "idle": 0.5}, max_length=320),
    Phase(
        "some facts",
        2_500_000,
        {
            "pairs": 1,
            "few": 3,
            "some": 3,
            "changes": 1,
            "memories": 1,
            "idle": 0.5,
            "intent": 1,
            "title": 0.5,
            "summary": 0.5,
        },
        max_length=512,
    ),
)
