"""Invented names: the training half and the evaluation half never share a name.

A name belongs to the evaluation half when its checksum says so, therefore the two halves are disjoint
by construction and nobody has to keep a list.
"""

from random import Random
from typing import Final, Literal
from zlib import crc32

Half = Literal["train", "eval"]

ONSETS: Final = tuple(
    [
        "b",
        "c",
        "d",
        "f",
        "g",
        "h",
        "j",
        "k",
        "l",
        "m",
        "n",
        "p",
        "r",
        "s",
        "t",
        "v",
        "w",
        "z",
        "br",
        "ch",
        "cl",
        "dr",
        "fl",
        "gr",
        "kr",
        "pl",
        "qu",
        "sh",
        "sl",
        "st",
        "th",
        "tr",
        "y",
    ]
)
VOWELS: Final = tuple(
    ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ia", "io", "oo", "ou", "ei"]
)
CODAS: Final = ("", "", "", "", "", "n", "r", "l", "s", "x", "m", "k", "t", "nd", "sh", "ck")
EVAL_SHARE: Final = 8  # one name in eight is kept for evaluation


def half_of(name: str) -> Half:
    """Return the half that a name belongs to, whatever its case."""
    return "eval" if crc32(name.lower().encode()) % EVAL_SHARE == 0 else "train"


class Names:
    """An endless source of invented names of one half.

    Parameters
    ----------
    random : Random
        Where chance comes from.
    half : {"train", "eval"}
        Only names of this half are given out.
    """

    def __init__(self, random: Random, half: Half) -> None:
        self.random = random
        self.half = half

    def word(self) -> str:
        """Return a lower-case invented word of two or three syllables."""
        while True:
            n_syllables = self.random.choice((1, 2, 2, 2, 3, 3))
            word = "".join(self._syllable() for _ in range(n_syllables)) + self.random.choice(CODAS)
            if len(word) > 2 and half_of(word) == self.half:
                return word

    def name(self) -> str:
        """Return an invented name with a capital, now and then of two words."""
        name = self.word().capitalize()
        return f"{name} {self.word().capitalize()}" if self.random.random() < 0.08 else name

    def _syllable(self) -> str:
        return self.random.choice(ONSETS) + self.random.choice(VOWELS)
