"""What pages are drawn with: a page's own script, after what all of them share."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
SHARED: Final = "make.js"


def script(name: str) -> str:
    """Return the module of a page; as AnyWidget hands it on as text, it can import no other."""
    return "\n".join((FOLDER / part).read_text("utf-8") for part in (SHARED, name))
