"""The form in which a model fits the memory of its device: its own, 8 bits, 4 bits, or none."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from lab.pipelines.devices import free_bytes
from lab.pipelines.memory import MemoryNeed, memory_needs, sized
from lab.schemas.chat_config import ChatConfig, Quantization


@dataclass(frozen=True, slots=True)
class Prospect:
    """
    What each form of a model needs of a device, told before it is loaded.

    Attributes
    ----------
    needs : mapping
        By form, from the best answers to the least memory.
    n_tokens : int
        Of the prompt that is taken in one step.
    device : torch.device
        Where it is to run.
    free, limit : int
        Bytes that nobody uses there, and that the model may take of them.
    """

    needs: Mapping[Quantization, MemoryNeed]
    n_tokens: int
    device: torch.device
    free: int
    limit: int

    def fits(self, form: Quantization) -> bool:
        """Return whether the model fits in a form."""
        return self.needs[form].total <= self.limit

    def choose(self, wanted: Quantization) -> Quantization | None:
        """Return the wanted form, or of `auto` the first, that fits; None where none does."""
        forms = self.needs if wanted is Quantization.auto else (wanted,)
        return next(filter(self.fits, forms), None)

    def reason(self, form: Quantization) -> str:
        """Return why a form was chosen, in numbers."""
        larger = [
            f"{other} would need {sized(need.total)}"
            for other, need in self.needs.items()
            if not self.fits(other)
        ]
        may = f"{sized(self.limit)} of {self.device} may be taken"
        return "; ".join([f"{form} needs {self.needs[form]}, {may}", *larger])

    def refusal(self, model_id: str, wanted: Quantization) -> str:
        """Return why no wanted form was chosen, and what would fit."""
        least = self.needs[Quantization.nf4]
        need = least if wanted is Quantization.auto else self.needs[wanted]
        form = self.choose(Quantization.auto)
        if form is not None:
            size = sized(self.needs[form].total)
            advice = f"It would fit with LAB_CHAT_QUANTIZATION={form} ({size})."
        else:
            advice = (
                f"In 4 bits it would need {sized(least.total)}: choose a smaller "
                "model, a device with more memory, or a smaller LAB_CHAT_PREFILL_TOKENS."
            )
        whose = "what is free" if self.limit == self.free else "LAB_CHAT_MEMORY_GB"
        return (
            f"`{model_id}` does not fit: it needs {need} to take {self.n_tokens:,} tokens of a "
            f"prompt, and may take {sized(self.limit)} of {self.device} ({whose}). {advice}"
        )


def prospect(
    network_config: PretrainedConfig, config: ChatConfig, dtype: torch.dtype, device: torch.device
) -> Prospect:
    """
    Return what a model needs of a device.

    Parameters
    ----------
    network_config : PretrainedConfig
        Its architecture.
    config : ChatConfig
        How much memory it may take, and how many tokens of a prompt one step takes.
    dtype : torch.dtype
        Of what is not quantized.
    device : torch.device
        Where it is to run.
    """
    free = free_bytes(device)
    window = int(network_config.get_text_config(decoder=True).max_position_embeddings)
    n_tokens = min(config.prefill_tokens, window)
    return Prospect(
        needs=memory_needs(network_config, dtype, n_tokens=n_tokens),
        n_tokens=n_tokens,
        device=device,
        free=free,
        limit=free if config.memory_gb is None else min(free, int(config.memory_gb * 1e9)),
    )
