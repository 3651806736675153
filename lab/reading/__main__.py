"""
Read one file: `python -m lab.reading NAME`, with the file as standard input.

Writes one object of JSON to standard output: the text, or why there is none. What it reads may be
made to do harm, so it first gives up what it does not need: memory, processor time, writing.
"""

import argparse
import json
import math
import resource
import sys
from typing import IO
from zipfile import ZipFile

from lab.errors import DocumentError, LabError
from lab.reading.kinds import HTML, PDF, WORD, media_type, opened
from lab.reading.text import PAGE_BREAK, Limits, Text, joined, required

MAX_MEMORY_BYTES = 2 * 2**30
BYTES_A_CHARACTER = 12
"""Most that a character takes in JSON."""
_HEAD = 4096


def main() -> int:
    """Read the file and say what came of it."""
    arguments = _parse()
    limits = Limits(arguments.max_pages, arguments.max_characters, arguments.timeout)
    _give_up(limits)
    try:
        found = vars(read(sys.stdin.buffer, arguments.name, limits))
    except LabError as error:
        found = {"code": error.code, "message": str(error)}
    except MemoryError:
        found = _refusal("It needs too much memory to read.")
    except RecursionError:
        found = _refusal("Its parts lie too deep in each other.")
    except Exception as error:  # whatever a library makes of a file that was made to break it
        found = _refusal(f"It is damaged ({type(error).__name__}: {error}).")
    json.dump(found, sys.stdout)
    return 0


def read(file: IO[bytes], name: str, limits: Limits) -> Text:
    """
    Return the text of a file.

    Raises
    ------
    DocumentError
        If it holds none, or cannot be read.
    """
    file.seek(0)  # whoever opened it may have read from it
    content = opened(file, file.read(_HEAD))
    kind = media_type(content, name)
    file.seek(0)
    # Each library is imported for the files that need it.
    if kind == PDF:
        from lab.reading.pdf import pages_of  # noqa: PLC0415

        text, starts = joined(pages_of(file, limits), limits, PAGE_BREAK)
        advice = "scanned pages need text recognition first."
        return Text(kind, required(text, advice), tuple(starts))
    if kind == WORD and isinstance(content, ZipFile):
        from lab.reading.word import paragraphs_of  # noqa: PLC0415

        text, _ = joined(paragraphs_of(file, content), limits, PAGE_BREAK)
    else:
        from lab.reading.plain import decoded  # noqa: PLC0415

        text = decoded(file.read())
        if kind == HTML:
            from lab.reading.html import text_of  # noqa: PLC0415

            text = text_of(text)
        text, _ = joined([text], limits, "")
    return Text(kind, required(text, "there is nothing to search in it."))


def _give_up(limits: Limits) -> None:
    seconds = math.ceil(limits.timeout_s)
    written = limits.max_characters * BYTES_A_CHARACTER + 2**20
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def _refusal(message: str) -> dict[str, str]:
    return {"code": DocumentError.code, "message": message}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.reading", description=main.__doc__)
    parser.add_argument("name", help="how the file is called")
    parser.add_argument("--max-pages", type=int, required=True)
    parser.add_argument("--max-characters", type=int, required=True)
    parser.add_argument("--timeout", type=float, required=True, help="seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
