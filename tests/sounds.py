"""Sound for tests: tones in noise, and files of them."""

from io import BytesIO

import numpy as np
import soundfile

from lab.protocols import FloatArray

RATE = 16_000


def tone(seconds: float, rate: int = RATE, seed: int = 0) -> FloatArray:
    """Return a wave of shape (N,): a tone that wavers, in noise."""
    random = np.random.default_rng(seed)
    times = np.arange(int(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * times * (200 + 50 * np.sin(times)))
    return (wave + 0.05 * random.standard_normal(len(wave))).astype(np.float32)


def silence(seconds: float, rate: int = RATE) -> FloatArray:
    """Return a wave of zeros of shape (N,)."""
    return np.zeros(int(seconds * rate), np.float32)


def sound_file(wave: FloatArray, kind: str = "wav", rate: int = RATE) -> bytes:
    """Return the bytes of a file of a wave of shape (N,) or (N, C)."""
    file = BytesIO()
    soundfile.write(file, wave, rate, format=kind.upper())
    return file.getvalue()
