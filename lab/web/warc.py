"""Snapshots of pages: records of WARC, packed, each a whole WARC file by itself."""

from hashlib import sha256
from io import BytesIO
from typing import Final

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from lab.web.pages import ReadPage

TEXT_DIGEST: Final = "Lab-Text-Digest"
"""Header of a record: the hash of the text that was made out of its body."""
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
            warc_headers_dict={
                "WARC-Payload-Digest": f"sha256:{page.sha256}",
                TEXT_DIGEST: digest_of(page.content.text),
            },
        )
    )
    return file.getvalue()


def digest_of(text: str) -> str:
    """Return the hash of a text as a record names it."""
    return f"sha256:{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def text_digest_of(warc: bytes) -> str | None:
    """
    Return the hash of the text that was made out of a snapshot's body; None where it names none.

    Raises
    ------
    ValueError
        If it is no snapshot.
    """
    digest: str | None = _record(warc).rec_headers.get_header(TEXT_DIGEST)
    return digest


def body_of(warc: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """
    Return the body that a snapshot holds, and the headers of its answer.

    Raises
    ------
    ValueError
        If it is none.
    """
    record = _record(warc)
    return record.content_stream().read(), tuple(record.http_headers.headers)


def _record(warc: bytes) -> ArcWarcRecord:
    try:
        record = next(ArchiveIterator(BytesIO(warc)), None)
    except ArchiveLoadFailed as error:
        raise ValueError(str(error)) from error
    if record is None or record.http_headers is None:
        raise ValueError("it holds no answer")
    return record
