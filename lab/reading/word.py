"""Word documents (.docx): paragraphs and tables, in their order."""

from collections.abc import Iterator
from typing import IO
from zipfile import ZipFile

from docx import Document
from docx.table import Table

from lab.errors import DocumentError

MAX_UNPACKED_BYTES = 256 * 2**20
"""Of all parts together: a zip bomb unpacks to more. Zip reads no part beyond its own figure."""


def paragraphs_of(file: IO[bytes], archive: ZipFile) -> Iterator[str]:
    """
    Yield the paragraphs, and each row of a table as one.

    Raises
    ------
    DocumentError
        If the file would unpack to too much, or has a password.
    """
    parts = archive.infolist()
    if (n_bytes := sum(part.file_size for part in parts)) > MAX_UNPACKED_BYTES:
        raise DocumentError(
            f"It unpacks to {n_bytes:,} bytes, and {MAX_UNPACKED_BYTES:,} are allowed."
        )
    if any(part.flag_bits & 1 for part in parts):
        raise DocumentError("It is encrypted; save it without a password.")
    file.seek(0)
    for block in Document(file).iter_inner_content():
        if isinstance(block, Table):
            yield from _rows(block)
        else:
            yield block.text


def _rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        # A merged cell stands in a row as often as it is wide.
        cells = {id(cell._tc): cell.text for cell in row.cells}
        yield " | ".join(cells.values())
