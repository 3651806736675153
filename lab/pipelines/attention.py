"""
What a decoding row may look at, for models with full and with sliding attention.

Shape letters: B rows, T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import get_layer_types_and_kwargs

from lab.errors import ModelLoadError

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True, slots=True)
class AttentionMasks:
    """The masks that a model's layers need when each row has its own length."""

    n_layers: int
    windows: dict[str, int | None]  # layer type -> tokens it looks back; None: all
    dtype: torch.dtype

    @classmethod
    def of(cls, model: PreTrainedModel) -> "AttentionMasks":
        """Read the layers of a model; raise `ModelLoadError` where rows cannot share a batch."""
        types, settings = get_layer_types_and_kwargs(model.config.get_text_config(decoder=True))
        windows = {
            kind: setting.get("sliding_window")
            for kind, setting in zip(types, settings, strict=True)
        }
        if unknown := windows.keys() - {FULL, SLIDING}:
            raise ModelLoadError(
                f"{model.config.name_or_path or 'The model'} has layers of type "
                f"{', '.join(sorted(unknown))}; the lab's batch runs models whose layers are of "
                f"type {FULL} or {SLIDING}. Choose such a model."
            )
        return cls(len(types), windows, model.dtype)

    def decoding(self, positions: Tensor, n_tokens: int) -> Tensor | dict[str, Tensor]:
        """
        Return the additive mask of one new token per row.

        Parameters
        ----------
        positions : Tensor of shape (B,)
            Position of each row's new token.
        n_tokens : int
            Keys in view, T.

        Returns
        -------
        Tensor of shape (B, 1, 1, T), or one for each layer type where a model has several
        """
        masks = {
            kind: self._mask(positions, n_tokens, window) for kind, window in self.windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, positions: Tensor, n_tokens: int, window: int | None) -> Tensor:
        keys = torch.arange(n_tokens, device=positions.device)
        hidden = keys > positions[:, None]
        if window is not None:
            hidden |= keys <= positions[:, None] - window
        mask = torch.zeros(hidden.shape, dtype=self.dtype, device=positions.device)
        return mask.masked_fill_(hidden, torch.finfo(self.dtype).min)[:, None, None]
