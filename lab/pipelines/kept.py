"""Ended answers whose keys and values are kept: a prompt that goes on from one need not be run."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LEAST_REUSED: Final = 16
"""Tokens that a beginning must have in common to be worth its copy."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens of a row, and whose they are."""

    tokens: Sequence[int]
    owner: Hashable


class KeptPrompts:
    """
    Which rows of a cache hold the tokens of ended answers.

    Parameters
    ----------
    most : int
        Rows that are kept; the one that was kept for longest goes first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._rows: dict[int, Kept] = {}  # by row, the longest kept first

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def keep(self, row: int, tokens: Sequence[int], owner: Hashable) -> None:
        """Note that a row holds the keys and values of some tokens."""
        self.drop(row)
        if self.most and len(tokens) >= LEAST_REUSED:
            while len(self._rows) >= self.most:
                self.drop(next(iter(self._rows)))
            self._rows[row] = Kept(tokens, owner)

    def of(self, row: int) -> Sequence[int]:
        """Return the tokens that a row holds."""
        kept = self._rows.get(row)
        return kept.tokens if kept else ()

    def of_owner(self, owner: Hashable) -> list[tuple[int, Sequence[int]]]:
        """Return the rows of an owner, with their tokens."""
        return [(row, kept.tokens) for row, kept in self._rows.items() if kept.owner == owner]

    def move(self, source: int, target: int) -> None:
        """Note that what a row held lies in another now, if it held anything."""
        self.drop(target)
        self._rows = {target if row == source else row: k for row, k in self._rows.items()}

    def drop(self, row: int) -> None:
        """Forget a row."""
        self._rows.pop(row, None)

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()

    def free_row(self, first: int, n_rows: int) -> int | None:
        """Return the first of rows `first` to `n_rows` that holds nothing; None where all do."""
        return next((row for row in range(first, n_rows) if row not in self._rows), None)


def n_common(first: Sequence[int], second: Sequence[int]) -> int:
    """
    Return how many tokens two sequences have in common from their beginning on.

    >>> n_common([1, 2, 3], [1, 2, 4])
    2
    """
    low, high = 0, min(len(first), len(second))
    while low < high:  # slices are compared much faster than tokens one by one
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
