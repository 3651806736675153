"""Sound that comes from outside: checked by its header, then decoded. Imports no torch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, UnsupportedOperation
from typing import IO, Final

import filetype
import numpy as np
import soundfile
import soxr

from lab.errors import DocumentTooLargeError, InputError, MediaTypeError
from lab.protocols import FloatArray

FORMATS: Final = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3"})
"""Of those that libsndfile reads, the ones that are taken."""
RATES: Final = (1_000, 384_000)
"""Samples a second that a file may have."""
BLOCK: Final = 1 << 18
"""Values that are decoded at once."""
EXPECTED: Final = "WAV, FLAC, OGG or MP3"


@dataclass(slots=True)
class Sound:
    """
    A file of sound, of which the header was read.

    Attributes
    ----------
    file : file
        Its bytes, open as long as somebody has the sound.
    seconds : float
        How long it lasts, as the header tells.
    """

    file: IO[bytes]
    seconds: float = 0

    def __del__(self) -> None:
        self.file.close()


def open_sound(file: IO[bytes], max_seconds: float) -> Sound:
    """
    Return a file of sound; only its header is read.

    Raises
    ------
    InputError
        If there is nothing in it.
    MediaTypeError
        If it is no sound that is taken here, or is damaged.
    DocumentTooLargeError
        If it lasts longer than so many seconds.
    """
    sound = Sound(_own(file))
    sound.seconds = _checked(sound.file, max_seconds)
    return sound


def _checked(file: IO[bytes], max_seconds: float) -> float:
    """Return how long a file of sound lasts, or raise for one that is not taken."""
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(512)
    if not n_bytes:
        raise InputError(f"`file`: it has 0 bytes; send sound ({EXPECTED}).")
    with _opened(file, head) as sound:
        if sound.format not in FORMATS:
            raise _stranger(head)
        if not RATES[0] <= sound.samplerate <= RATES[1]:
            raise MediaTypeError(
                f"`file`: it has {sound.samplerate:,} samples a second; {RATES[0]:,} to "
                f"{RATES[1]:,} are taken."
            )
        seconds = sound.frames / sound.samplerate
    if not seconds:
        raise InputError("`file`: it holds no sound; send a recording of some length.")
    _check_length(seconds, max_seconds)
    if _is_cut(head, n_bytes):
        raise _damaged("it is shorter than its header tells")
    return seconds


def decode(
    sound: Sound, rate: int, max_seconds: float, go_on: Callable[[], None] = lambda: None
) -> FloatArray:
    """
    Return a sound as one channel of shape (N,), at so many samples a second.

    Parameters
    ----------
    sound : Sound
        The file.
    rate : int
        Samples a second.
    max_seconds : float
        How long it may last, whatever its header tells.
    go_on : callable
        Called now and then; may raise.

    Raises
    ------
    MediaTypeError
        If it is damaged, or ends before its header says so.
    DocumentTooLargeError
        If it lasts longer.
    """
    parts: list[FloatArray] = []
    n_frames = 0
    with _opened(sound.file) as opened:
        own, expected = opened.samplerate, opened.frames
        resampler = soxr.ResampleStream(own, rate, 1, dtype="float32")
        try:
            for block in opened.blocks(max(BLOCK // opened.channels, 1), dtype="float32"):
                go_on()
                n_frames += len(block)
                _check_length(n_frames / own, max_seconds)
                parts.append(resampler.resample_chunk(_mono(block)))
        except soundfile.LibsndfileError as error:
            raise _damaged(error.error_string) from error
    if n_frames < expected and opened.format == "FLAC":  # of others it is only estimated
        raise _damaged(f"of {expected / own:.1f} s only {n_frames / own:.1f} s are there")
    parts.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    whole: FloatArray = np.concatenate(parts)
    if not np.isfinite(whole).all():
        raise _damaged("it holds values that are no numbers")
    return whole


def encode(wave: FloatArray, rate: int, kind: str) -> bytes:
    """Return a wave of shape (N,) in [-1, 1] as a file: wav, flac, mp3, or pcm without a header."""
    file = BytesIO()
    if kind == "pcm":
        options = {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"}
    else:
        options = {"format": kind.upper()}
    soundfile.write(file, wave, rate, **options)
    return file.getvalue()


def _own(file: IO[bytes]) -> IO[bytes]:
    """Return a handle of one's own: a sender's is closed when they leave, whoever reads then."""
    try:
        return os.fdopen(os.dup(file.fileno()), "rb")
    except UnsupportedOperation:  # it is in memory
        file.seek(0)
        return BytesIO(file.read())


def _opened(file: IO[bytes], head: bytes = b"") -> soundfile.SoundFile:
    file.seek(0)
    try:
        return soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise _stranger(head) from error


def _mono(block: FloatArray) -> FloatArray:
    """Return the mean of all channels of a block of shape (N, C) or (N,)."""
    mean: FloatArray = block if block.ndim == 1 else block.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(mean)


def _is_cut(head: bytes, n_bytes: int) -> bool:
    """Return whether a WAV file is shorter than it says; one that was streamed does not say."""
    said = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and 0 < said < 0xFFFFFF00 and said + 8 > n_bytes


def _check_length(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise DocumentTooLargeError(
            f"`file`: it lasts at least {seconds:,.0f} s, and {max_seconds:,.0f} s are taken "
            "(LAB_TRANSCRIPTION_MAX_SECONDS); send it in parts."
        )


def _damaged(why: str) -> MediaTypeError:
    return MediaTypeError(f"`file`: the sound is damaged ({why.rstrip('.')}); send it anew.")


def _stranger(head: bytes) -> MediaTypeError:
    kind = filetype.guess(head)
    known = f" (it looks like {kind.mime})" if kind is not None else ""
    return MediaTypeError(
        f"`file`: the bytes are no sound that is taken here{known}; send {EXPECTED}."
    )
