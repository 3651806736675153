"""Pictures of tests."""

import struct
import zlib
from io import BytesIO

from PIL import Image


def png(width: int, height: int, mode: str = "RGB", color: int | str = "red") -> bytes:
    """Return a PNG of one colour."""
    file = BytesIO()
    Image.new(mode, (width, height), color).save(file, "PNG")
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """Return a small PNG whose header tells of a picture of that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000))
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
