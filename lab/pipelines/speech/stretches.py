"""
Where there is sound in a recording, in stretches that a model hears one after the other.

In silence nothing is said, and models of speech invent words there: it is left out. A long stretch
is cut where it is most quiet, so that no word is parted.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from lab.protocols import FloatArray

FRAME_S: Final = 0.05
"""Seconds that are loud or not, as a whole."""
SILENT: Final = 1e-3
"""Largest value in silence: 60 dB below the loudest that a file can hold."""
LEAST_GAP_S: Final = 10.0
"""A silence so long parts two stretches; a shorter one is a pause of who speaks."""
MARGIN_S: Final = 0.5
"""Silence that is left before and after a stretch."""
MOST_S: Final = 300.0
"""The longest stretch; more would take more memory at once."""
SEARCHED_S: Final = 30.0
"""Before the end of the longest stretch, the most quiet moment is looked for in so much of it."""


def stretches(wave: FloatArray, rate: int) -> Iterator[tuple[int, int]]:
    """
    Yield where stretches of sound begin and end, in samples.

    Parameters
    ----------
    wave : array of shape (N,)
        One channel, in [-1, 1].
    rate : int
        Samples a second.
    """
    frame = max(int(FRAME_S * rate), 1)
    peaks = _peaks(wave, frame)
    loud = np.flatnonzero(peaks > SILENT)
    if not len(loud):
        return
    gaps = np.flatnonzero(np.diff(loud) > LEAST_GAP_S / FRAME_S)
    margin = int(MARGIN_S * rate)
    for first, last in zip(loud[np.r_[0, gaps + 1]], loud[np.r_[gaps, len(loud) - 1]], strict=True):
        start = max(int(first) * frame - margin, 0)
        end = min((int(last) + 1) * frame + margin, len(wave))
        yield from _cut(peaks, frame, start, end)


def _cut(peaks: FloatArray, frame: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield a stretch in parts that are not too long, cut where it is most quiet."""
    most, searched = int(MOST_S / FRAME_S), int(SEARCHED_S / FRAME_S)
    while (end - start) // frame > most:
        last = start // frame + most
        quietest = last - searched + int(np.argmin(peaks[last - searched : last]))
        yield start, quietest * frame
        start = quietest * frame
    yield start, end


def _peaks(wave: FloatArray, frame: int) -> FloatArray:
    """Return the largest absolute value of each frame."""
    n_frames = -(-len(wave) // frame)
    peaks = np.empty(n_frames, np.float32)
    for i in range(n_frames):
        part = wave[i * frame : (i + 1) * frame]
        peaks[i] = max(part.max(), -part.min())
    return peaks
