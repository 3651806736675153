"""PDF, page by page."""

from collections.abc import Iterator
from typing import IO

from pypdf import PdfReader
from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

from lab.errors import DocumentError, DocumentTooLargeError
from lab.reading.text import Limits


def pages_of(file: IO[bytes], limits: Limits) -> Iterator[str]:
    """
    Yield the text of each page.

    Raises
    ------
    DocumentError
        If the file is encrypted, damaged, or unpacks to too much.
    DocumentTooLargeError
        If it has too many pages.
    """
    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("It is encrypted; save it without a password.")
        if (n_pages := len(reader.pages)) > limits.max_pages:
            raise DocumentTooLargeError(
                f"It has {n_pages:,} pages, and {limits.max_pages:,} are allowed "
                "(limits.max_document_pages); split it, or ask the operator for more."
            )
        for page in reader.pages:
            yield page.extract_text()
    except LimitReachedError as error:
        raise DocumentError(f"A part of it unpacks to too much ({error}).") from error
    except DependencyError as error:
        raise DocumentError(f"It is encrypted in a way that is not read ({error}).") from error
    except PyPdfError as error:
        raise DocumentError(f"It is damaged, or no whole PDF ({error}).") from error
