"""How an image model lies in memory, and what it needs in each form. Imports no torch."""

from dataclasses import dataclass
from enum import StrEnum

from lab.pipelines.need import Prospect
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
class ImageProspect(Prospect[ImageForm]):
    """What an image model will need of its device; the first of its forms that fits is taken."""

    def refusal(self, device: str, limit: int, why: str) -> str:
        """Return why no form fits; `why` says what sets the limit."""
        offered = "; ".join(f"{form} {need}" for form, need in self.needs.items())
        return (
            f"`{self.name}` does not fit: {self.step} it needs {offered}, and may take "
            f"{sized(limit)} of {device} ({why}). {self.advice}"
        )
