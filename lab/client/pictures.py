"""A picture that was made: bytes, and what made them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from lab.schemas.image import Image


@dataclass(frozen=True)
class Picture:
    """
    A picture; a notebook shows it.

    Attributes
    ----------
    image : Image
        What is stored of it: prompt, model, parameters.
    content : bytes
        A PNG file.
    """

    image: Image
    content: bytes = field(repr=False)

    @property
    def id(self) -> UUID:
        """Its id, for `lab.images.get`."""
        return self.image.id

    @property
    def seed(self) -> int:
        """Asked for again with this seed, the picture is the same."""
        return int(self.image.parameters["seed"])

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was made with."""
        return self.image.parameters

    def save(self, file: Path | str) -> Path:
        """Write the PNG to a file, and return its path."""
        path = Path(file)
        path.write_bytes(self.content)
        return path

    def _repr_png_(self) -> bytes:
        return self.content
