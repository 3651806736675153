"""
Main text of pages: `python -m benchmarks.extract --data FOLDER`.

The folder is `tests` of trafilatura's repository: `evaldata.json` says of each page which texts
belong to its main text and which do not, and `cache/` and `eval/` hold the pages. The lab reads
each as it reads a page of the web, by `lab.web`, with title, author, day and language. The peer is
trafilatura called directly on the same bytes, with the same metadata and with its evaluation's own
options. The two take turns at each page, so that what else the machine does falls on both.

References
----------
Barbaresi, "Trafilatura: a web scraping library and command-line tool for text discovery and
extraction", 2021.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.progress import track
from trafilatura import bare_extraction
from trafilatura.settings import Document

from benchmarks.report import Row, report
from lab.errors import InputError
from lab.web.content import UnreadableError, read_content

FOLDERS = ("cache", "eval")
TIMEOUT_S = 60.0
ROUNDS = 3
"""Times that each page is read; the fastest counts."""


class Judged(NamedTuple):
    """A page, and what belongs to its main text and what does not."""

    url: str
    body: bytes
    wanted: Sequence[str]
    unwanted: Sequence[str]


@dataclass
class Tally:
    """What a reader made of all pages."""

    found: int = 0
    missed: int = 0
    wrong: int = 0
    seconds: float = 0.0

    def count(self, page: Judged, text: str) -> None:
        """Look for the texts of a page, whatever white space stands in them."""
        said = squeezed(text)
        found = sum(squeezed(part) in said for part in page.wanted)
        self.found += found
        self.missed += len(page.wanted) - found
        self.wrong += sum(squeezed(part) in said for part in page.unwanted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.found / max(1, 2 * self.found + self.wrong + self.missed)


Read = Callable[[Judged], str]


def by_lab(page: Judged) -> str:
    """Return the main text as the lab reads it."""
    try:
        return read_content(page.body, "", page.url, timeout_s=TIMEOUT_S).content.text
    except UnreadableError:
        return ""


def by_trafilatura(page: Judged, *, with_metadata: bool) -> str:
    """Return the main text as trafilatura's evaluation asks for it."""
    found = bare_extraction(
        page.body,
        url=page.url,
        include_comments=False,
        include_tables=True,
        include_formatting=False,
        with_metadata=with_metadata,
    )
    return (found.text if isinstance(found, Document) else None) or ""


PEER = "trafilatura with metadata"
READERS: Mapping[str, Read] = {
    "lab": by_lab,
    PEER: partial(by_trafilatura, with_metadata=True),
    "trafilatura without": partial(by_trafilatura, with_metadata=False),
}


def squeezed(text: str) -> str:
    """Return a text with one blank for any white space."""
    return " ".join(text.split())


def pages(folder: Path) -> Iterator[Judged]:
    """
    Yield the pages of trafilatura's evaluation that the folder holds.

    Raises
    ------
    InputError
        If it is no such folder.
    """
    file = folder / "evaldata.json"
    try:
        judged = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"`{file}` cannot be read ({error}); give the folder `tests` of trafilatura's "
            "repository."
        ) from error
    for url, item in judged.items():
        places = (folder / name / item["file"] for name in FOLDERS)
        if (place := next(filter(Path.is_file, places), None)) is not None:
            yield Judged(url, place.read_bytes(), item["with"], item["without"])


def measure(judged: Sequence[Judged]) -> dict[str, Tally]:
    """Return what each reader made of the pages."""
    tallies = {name: Tally() for name in READERS}
    for read in READERS.values():  # imports and caches are nobody's
        read(judged[0])
    for page in track(judged, "Pages"):
        fastest = dict.fromkeys(READERS, float("inf"))
        for n in range(ROUNDS):
            for name, read in READERS.items():
                began = time.perf_counter()
                text = read(page)
                fastest[name] = min(fastest[name], time.perf_counter() - began)
                if n == 0:
                    tallies[name].count(page, text)
        for name, seconds in fastest.items():
            tallies[name].seconds += seconds
    return tallies


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extract", description="How well main texts are found."
    )
    parser.add_argument("--data", type=Path, required=True, help="`tests` of trafilatura")
    judged = list(pages(parser.parse_args().data))
    if not judged:
        raise InputError("The folder holds none of the pages that its evaldata.json names.")
    tallies = measure(judged)
    lab, peer = tallies["lab"], tallies[PEER]
    best = max(tally.f1 for name, tally in tallies.items() if name != "lab")
    rows = [
        Row("F1, lab to trafilatura", lab.f1 / best, 1.0, "×", more_is_better=True),
        Row(
            "pages/s, lab to trafilatura",
            peer.seconds / lab.seconds,
            0.9,
            "×",
            more_is_better=True,
        ),
    ]
    figures = {
        name: {
            "pages": str(len(judged)),
            "F1": f"{tally.f1:.3f}",
            "precision": f"{tally.found / max(1, tally.found + tally.wrong):.3f}",
            "recall": f"{tally.found / max(1, tally.found + tally.missed):.3f}",
            "pages/s": f"{len(judged) / tally.seconds:.1f}",
        }
        for name, tally in tallies.items()
    }
    return 0 if report("extract", rows, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
