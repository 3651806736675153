"""The documents name what there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
TABLE = ARCHITECTURE.split("## The rooms")[1].split("\n## ")[0]


def rooms() -> list[str]:
    """Return the modules and packages of `lab`."""
    found = (p for p in sorted((ROOT / "lab").iterdir()) if re.fullmatch(r"[a-z]+(\.py)?", p.name))
    return [f"lab/{p.name}" if p.is_file() else f"lab/{p.name}/" for p in found]


@pytest.mark.parametrize("room", rooms())
def test_every_room_is_in_the_table(room: str) -> None:
    assert f"`{room}`" in TABLE


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:lab|api)/[\w./]+)`", ARCHITECTURE))))
def test_every_path_that_is_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()
