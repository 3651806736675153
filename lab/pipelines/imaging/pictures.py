"""Pictures that come from outside: checked by their header, then decoded. Imports no torch."""

from io import BytesIO
from typing import Final

from PIL import Image, ImageOps
from PIL.Image import Image as Picture
from PIL.Image import Resampling

from lab.errors import DocumentTooLargeError, InputError, MediaTypeError
from lab.messages import picture_type

FORMATS: Final = ("PNG", "JPEG", "WEBP")


def read_picture(content: bytes, max_pixels: int, field: str) -> Picture:
    """
    Return a picture, upright.

    Parameters
    ----------
    content : bytes
        A PNG, JPEG or WebP file.
    max_pixels : int
        Pixels of the largest that is decoded; the header is asked before.
    field : str
        What the request calls it.

    Raises
    ------
    InputError
        If there is nothing.
    MediaTypeError
        If it is no such picture, or is damaged.
    DocumentTooLargeError
        If it has too many pixels.
    """
    picture_type(content, field)
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            _check_size(opened, max_pixels, field)
            opened.load()
            return ImageOps.exif_transpose(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(field, str(error), max_pixels) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise MediaTypeError(
            f"`{field}`: the picture is damaged ({error}); send it anew."
        ) from error


def as_image(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture in RGB and in a size; what is transparent becomes white."""
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        picture = Image.alpha_composite(white, seen)
    return picture.convert("RGB").resize((width, height), Resampling.LANCZOS)


def as_mask(picture: Picture, width: int, height: int) -> Picture:
    """
    Return a mask in grey and in a size: white where the picture is made anew.

    As OpenAI's clients send it, that is where the mask is transparent; of one without transparency,
    where it is white.
    """
    if picture.has_transparency_data:
        grey = ImageOps.invert(picture.convert("RGBA").getchannel("A"))
    else:
        grey = picture.convert("L")
    return grey.resize((width, height), Resampling.NEAREST)


def as_png(picture: Picture) -> bytes:
    """Return the bytes of a PNG file."""
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _check_size(picture: Picture, max_pixels: int, field: str) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_large(field, f"it is {width:,} × {height:,}", max_pixels)


def _too_large(field: str, what: str, max_pixels: int) -> DocumentTooLargeError:
    return DocumentTooLargeError(
        f"`{field}`: the picture has too many pixels ({what.rstrip('.')}), and {max_pixels:,} are "
        "taken (LAB_IMAGE_MAX_UPLOAD_PIXELS); send a smaller one."
    )
