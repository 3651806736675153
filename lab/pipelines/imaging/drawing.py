"""What is asked of an image model, and what it gives. Imports no torch."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lab.schemas.model import Model

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True, slots=True)
class Drawing:
    """
    A picture to make.

    Attributes
    ----------
    prompt, negative_prompt : str
        What is to be seen, and what is not.
    width, height : int
        Pixels.
    seed : int
        The same seed gives the same picture again.
    steps, guidance, strength : number or None
        None = the pipeline's own; strength is of edits.
    lora : str or None
        Name of the LoRA weights to put on the model.
    lora_scale : float
        How much they count.
    image : Picture or None
        Of an edit: what it begins from, in RGB and of that width and height.
    mask : Picture or None
        Of an edit of a part: white where the picture is made anew, in grey and as large.
    """

    prompt: str
    width: int
    height: int
    seed: int
    negative_prompt: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    lora: str | None = None
    lora_scale: float = 1.0
    image: "Picture | None" = None
    mask: "Picture | None" = None


@dataclass(frozen=True, slots=True)
class Step:
    """Steps that are done of a picture, and how many it takes."""

    done: int
    of: int


@dataclass(frozen=True, slots=True)
class Traits:
    """
    What an image model takes, known before it is loaded.

    Attributes
    ----------
    multiple : int
        Width and height are multiples of it.
    side : int
        Width and height that it was made for.
    steps : int
        Steps that it takes where nobody says how many.
    guidance : float or None
        Its own guidance; None where it takes none.
    takes_negative : bool
        Whether it takes a prompt of what is not to be seen.
    strength : float or None
        Of its edits; None where those take none.
    edits, inpaints : bool
        Whether it changes a picture, and a masked part of one.
    """

    multiple: int
    side: int
    steps: int
    guidance: float | None
    takes_negative: bool
    strength: float | None
    edits: bool
    inpaints: bool


class ImagePipeline(Protocol):
    """A model that makes pictures, one at a time."""

    @property
    def model(self) -> Model:
        """The model."""
        ...

    def draw(self, drawing: Drawing) -> AsyncGenerator[Step | bytes, None]:
        """Yield each step, then the picture as PNG; closing the generator stops it."""
        ...
