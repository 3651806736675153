"""The notebooks of the repository, as test cases."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "notebooks"


@dataclass(frozen=True)
class Notebook:
    """A notebook file, read as JSON."""

    file: Path

    def __str__(self) -> str:
        return str(self.file.relative_to(FOLDER))

    @cached_property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.file.read_text("utf-8"))
        return content

    def cells(self, kind: str) -> Iterator[dict[str, Any]]:
        return (cell for cell in self.content["cells"] if cell["cell_type"] == kind)

    def words(self) -> str:
        return "\n\n".join("".join(cell["source"]) for cell in self.cells("markdown"))


def notebooks() -> list[Notebook]:
    files = sorted(FOLDER.rglob("*.ipynb"))
    return [Notebook(file) for file in files if ".ipynb_checkpoints" not in file.parts]
