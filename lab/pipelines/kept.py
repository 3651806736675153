"""Ended answers whose keys and values are kept: a prompt that goes on from one need not be run."""

from collections.abc import Iterator, Sequence
from typing import Final

LEAST_REUSED: Final = 16
"""Tokens that a beginning must have in common to be worth its copy."""


class KeptPrompts:
    """
    Which rows of a cache hold the tokens of ended answers.

    Parameters
    ----------
    most : int
        Rows that are kept; the one that was not used for longest goes first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._rows: dict[int, Sequence[int]] = {}  # by row, the longest unused first

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[int, Sequence[int]]]:
        return iter(self._rows.items())

    def keep(self, row: int, tokens: Sequence[int]) -> None:
        """Note that a row holds the keys and values of some tokens."""
        self.drop(row)
        if self.most and len(tokens) >= LEAST_REUSED:
            while len(self._rows) >= self.most:
                self.drop(self.oldest)
            self._rows[row] = tokens

    def of(self, row: int) -> Sequence[int]:
        """Return the tokens that a row holds."""
        return self._rows.get(row, ())

    def drop(self, row: int) -> Sequence[int]:
        """Forget a row, and return the tokens that it held."""
        return self._rows.pop(row, ())

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()

    @property
    def oldest(self) -> int:
        """The row that was not used for longest."""
        return next(iter(self._rows))

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
