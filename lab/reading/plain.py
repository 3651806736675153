"""Text files: which encoding, and no binary ones."""

import codecs

from charset_normalizer import from_bytes

from lab.errors import MediaTypeError
from lab.reading.kinds import READ

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(content: bytes) -> str:
    """
    Return the text of a file: by its byte order mark, else UTF-8, else the likeliest encoding.

    Raises
    ------
    MediaTypeError
        If it is no text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if (place := content.find(b"\x00")) >= 0:
        raise MediaTypeError(f"It holds a NUL byte (at {place}), as no text does. {READ}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        best = from_bytes(content).best()
        if best is None:
            raise MediaTypeError(
                f"It is text in no known encoding (not UTF-8 at byte {error.start}); "
                "save it as UTF-8."
            ) from error
        return str(best)
