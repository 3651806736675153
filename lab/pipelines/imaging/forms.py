"""How an image model lies in memory, and what it needs in each form. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from lab.pipelines.need import MemoryNeed, Prospect
from lab.schemas.chat_config import Quantization
from lab.units import sized


class ImageForm(StrEnum):
    """
    From the quickest to the least memory.

    The last two keep the weights in the host's memory: the networks of the pipeline come to the
    device one at a time, or their layers do.
    """

    whole = "whole"
    tiled = "tiled"
    parts = "parts"
    layers = "layers"


@dataclass(frozen=True, slots=True)
class ImageProspect(Prospect):
    """What an image model will need of its device; the first of its forms that fits is taken."""

    def refusal(self, device: str, limit: int, why: str) -> str:
        """Return why no form fits; `why` says what sets the limit."""
        needs = cast("Mapping[ImageForm, MemoryNeed]", self.needs)
        offered = "; ".join(f"{form} {need}" for form, need in needs.items())
        return (
            f"`{self.name}` does not fit: {self.step} it needs {offered}, and may take "
            f"{sized(limit)} of {device} ({why}). {self.advice}"
        )


def prospect(
    name: str, device: str, step: str, advice: str, needs: Mapping[ImageForm, MemoryNeed]
) -> ImageProspect:
    """Return what a model will need; the account counts in forms, whichever they are."""
    forms = cast("Mapping[Quantization, MemoryNeed]", needs)
    return ImageProspect(name, [device], step, advice, forms, Quantization.auto)


def form_of(form: Quantization) -> ImageForm:
    """Return the form that the account chose of a `prospect`."""
    return ImageForm(form.value)
