"""Snapshots of pages: records of WARC, packed, each a whole WARC file by itself."""

from io import BytesIO
from typing import Final

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from lab.web.pages import ReadPage

UNPACKED: Final = frozenset({"content-encoding", "transfer-encoding", "content-length"})
"""Headers that speak of how a body came, and not of how it is kept."""


def snapshot(page: ReadPage) -> bytes:
    """Return the snapshot of a page: its answer, the body unpacked."""
    kept = [(name, value) for name, value in page.headers if name.lower() not in UNPACKED]
    headers = StatusAndHeaders(
        str(page.status), [*kept, ("Content-Length", str(len(page.body)))], protocol="HTTP/1.1"
    )
    file = BytesIO()
    writer = WARCWriter(file, gzip=True)
    writer.write_record(
        writer.create_warc_record(
            page.url,
            "response",
            payload=BytesIO(page.body),
            length=len(page.body),
            http_headers=headers,
            warc_headers_dict={"WARC-Payload-Digest": f"sha256:{page.sha256}"},
        )
    )
    return file.getvalue()


def body_of(warc: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """
    Return the body that a snapshot holds, and the headers of its answer.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        record = next(ArchiveIterator(BytesIO(warc)), None)
    except ArchiveLoadFailed as error:
        raise ValueError(str(error)) from error
    if record is None or record.http_headers is None:
        raise ValueError("it holds no answer")
    return record.content_stream().read(), tuple(record.http_headers.headers)
