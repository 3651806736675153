"""Copy the lab's notebooks to a person's home: `python -m hub_config.notebooks SOURCE TARGET`."""

import shutil
import sys
from pathlib import Path


def copy_missing(source: Path, target: Path) -> None:
    """Copy every notebook that is not there yet; what a person changed stays as it is."""
    for original in sorted(source.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in original.parts:
            continue
        copy = target / original.relative_to(source)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, copy)


if __name__ == "__main__":
    copy_missing(Path(sys.argv[1]), Path(sys.argv[2]))
