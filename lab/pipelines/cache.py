"""
Keys and values of every running answer, in one buffer per layer.

Shape letters: R rows (running answers), T tokens, H key-value heads, D head size.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

GRAIN = 64
"""Lengths of buffers and views are multiples of this many tokens."""


@dataclass(slots=True)
class Focus:
    """Where the tokens of the next forward pass go."""

    rows: slice = field(default_factory=lambda: slice(0, 0))
    start: int = 0  # tokens that the longest row has already
    length: int = 0  # tokens in view
    end: int = 0  # of what is written when it is one row
    write_rows: Tensor | None = None  # (R,); None: one row, from `start` to `end`
    write_at: Tensor | None = None  # (R,)
    n_rows: int = 0  # size of the buffers
    n_tokens: int = 0


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, (R, H, T, D); row r holds one answer's tokens from 0 on."""

    keys: Tensor
    values: Tensor
    is_sliding = False

    def __init__(self, focus: Focus) -> None:
        super().__init__()
        self._focus = focus

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take shapes, dtype and device from the first states."""
        self.keys = key_states.new_empty((0, key_states.shape[1], 0, key_states.shape[3]))
        self.values = value_states.new_empty((0, value_states.shape[1], 0, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store the states of new tokens, (R, H, T, D), and return all those in focus."""
        focus = self._focus
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.resize()
        if focus.write_rows is None:
            self.keys[focus.rows, :, focus.start : focus.end] = key_states
            self.values[focus.rows, :, focus.start : focus.end] = value_states
        else:
            self.keys[focus.write_rows, :, focus.write_at] = key_states[:, :, 0]
            self.values[focus.write_rows, :, focus.write_at] = value_states[:, :, 0]
        kept = (focus.rows, slice(None), slice(0, focus.length))
        return self.keys[kept], self.values[kept]

    def resize(self) -> None:
        """Have the rows and tokens that are wanted; what lies beyond is lost."""
        focus = self._focus
        if self.keys.shape[0] != focus.n_rows or self.keys.shape[2] != focus.n_tokens:
            self.keys, self.values = self._resized(self.keys), self._resized(self.values)

    def move(self, source: int, target: int, n_tokens: int) -> None:
        """Copy the first tokens of a row onto another."""
        self._reach(max(source, target), n_tokens)
        self.keys[target, :, :n_tokens] = self.keys[source, :, :n_tokens]
        self.values[target, :, :n_tokens] = self.values[source, :, :n_tokens]

    @property
    def n_elements(self) -> int:
        """Numbers that the layer keeps of one token."""
        n_heads = self.keys.shape[1]
        return n_heads * (self.keys.shape[3] + self.values.shape[3])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return keys seen by the pass and their offset."""
        return self._focus.start + query_length, 0

    def get_seq_length(self) -> int:
        """Return the tokens stored before the pass."""
        return self._focus.start

    def get_max_length(self) -> int:
        """Return -1: the buffer grows."""
        return -1

    def swap(self, first: int, second: int, n_tokens: int) -> None:
        """Exchange the first tokens of two rows."""
        self._reach(max(first, second), n_tokens)
        for buffer in (self.keys, self.values):
            held = buffer[first, :, :n_tokens].clone()
            buffer[first, :, :n_tokens] = buffer[second, :, :n_tokens]
            buffer[second, :, :n_tokens] = held

    def _reach(self, row: int, n_tokens: int) -> None:
        """Have a row and some tokens; buffers that have them already stay as they are."""
        if row >= self.keys.shape[0] or n_tokens > self.keys.shape[2]:
            self.resize()

    def _resized(self, old: Tensor) -> Tensor:
        n_rows, n_tokens = self._focus.n_rows, self._focus.n_tokens
        new = old.new_zeros((n_rows, old.shape[1], n_tokens, old.shape[3]))
        new[: old.shape[0], :, : old.shape[2]] = old[:n_rows, :, :n_tokens]
        return new


class SlotCache(Cache):
    """
    The cache of a running batch: a row for each answer, moved when one ends.

    Parameters
    ----------
    n_layers : int
        Layers of the model.
    may_take : callable
        Takes bytes, and whether others are to make room for them; returns whether the buffers may
        come to that.
    token_bytes : int
        Bytes of one token of one row, all layers together, as long as no layer is there.

    Attributes
    ----------
    n_resized : int
        How often the buffers got another size; what was recorded before writes to others.
    """

    def __init__(
        self,
        n_layers: int,
        may_take: Callable[[int, bool], bool] = lambda *_: True,
        token_bytes: int = 0,
    ) -> None:
        self.focus = Focus()
        self._may_take = may_take
        self._token_bytes = token_bytes
        self.n_resized = 0
        self._slots = [SlotLayer(self.focus) for _ in range(n_layers)]
        super().__init__(layers=[*self._slots])

    @property
    def size(self) -> tuple[int, int]:
        """Rows and tokens of the buffers."""
        return self.focus.n_rows, self.focus.n_tokens

    @property
    def n_bytes(self) -> int:
        """Bytes of the buffers that there are."""
        there = [layer for layer in self._slots if layer.is_initialized]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in there)

    def focus_row(self, row: int, start: int, length: int) -> None:
        """Aim the next pass at tokens `start` to `length` of one row; `make_room` comes first."""
        focus = self.focus
        focus.rows, focus.start, focus.end = slice(row, row + 1), start, length
        focus.length = length
        focus.write_rows = focus.write_at = None

    def focus_rows(self, positions: Tensor, longest: int) -> int:
        """
        Aim the next pass at one new token of each of the first rows; `make_room` comes first.

        Parameters
        ----------
        positions : Tensor of shape (R,)
            Where each row's token goes.
        longest : int
            The largest of `positions`.

        Returns
        -------
        int
            Tokens in view: a multiple of `GRAIN`, so that each row's sums are added in the same
            order whatever the longest row is.
        """
        n_rows = positions.shape[0]
        n_tokens = -(-(longest + 1) // GRAIN) * GRAIN
        focus = self.focus
        focus.rows, focus.start, focus.end = slice(0, n_rows), longest, longest + 1
        focus.length = n_tokens
        if n_rows == 1:  # a slice is written faster than by index
            focus.write_rows = focus.write_at = None
        else:
            focus.write_rows = torch.arange(n_rows, device=positions.device)
            focus.write_at = positions
        return n_tokens

    def focus_scattered(self, rows: Tensor, positions: Tensor, n_tokens: int) -> None:
        """
        Aim the next pass at one new token of each row, where the device itself reads places.

        Parameters
        ----------
        rows, positions : Tensor of shape (R,)
            The row and the place in it that each token is written to; views begin at row 0.
        n_tokens : int
            Tokens in view.
        """
        focus = self.focus
        focus.rows, focus.start, focus.end = slice(0, rows.shape[0]), n_tokens - 1, n_tokens
        focus.length = n_tokens
        focus.write_rows, focus.write_at = rows, positions

    def move(self, source: int, target: int, n_tokens: int) -> None:
        """Copy the first tokens of a row onto another."""
        for layer in self._slots:
            layer.move(source, target, n_tokens)

    def swap(self, first: int, second: int, n_tokens: int) -> None:
        """Exchange the first tokens of two rows."""
        for layer in self._slots:
            layer.swap(first, second, n_tokens)

    def wipe(self, row: int) -> None:
        """Zero a row: what is masked must be finite still, or it spoils those after it."""
        for layer in self._slots:
            layer.keys[row] = 0
            layer.values[row] = 0

    def make_room(self, n_rows: int, n_tokens: int) -> bool:
        """
        Have at least some rows and tokens at the next pass; return whether they may be taken.

        Buffers grow by at least half, so that growing costs little in sum; where that may not be
        taken, by as much as is needed.
        """
        focus = self.focus
        if n_rows <= focus.n_rows and n_tokens <= focus.n_tokens:
            return True
        least = -(-n_tokens // GRAIN) * GRAIN
        rows, tokens = max(n_rows, focus.n_rows), max(least, focus.n_tokens)
        ample = (
            max(n_rows, focus.n_rows * 2) if n_rows > focus.n_rows else rows,
            -(-max(n_tokens, focus.n_tokens * 3 // 2) // GRAIN) * GRAIN
            if n_tokens > focus.n_tokens
            else tokens,
        )
        return self._take(ample) or self._take((rows, tokens))

    def fit(self, n_rows: int, n_tokens: int) -> bool:
        """
        Have no more than some rows and tokens at the next pass; return whether they may be taken.

        What lies beyond is lost. Where they may not be taken, others are to make room for them.
        """
        return self._take((n_rows, -(-n_tokens // GRAIN) * GRAIN), insist=True)

    def settle(self) -> None:
        """Have the buffers that are wanted, where there are any."""
        for layer in self._slots:
            if layer.is_initialized:
                layer.resize()

    def _take(self, size: tuple[int, int], *, insist: bool = False) -> bool:
        if size == self.size:
            return True
        is_free = self._may_take(self.bytes_of(*size), insist)
        if is_free:
            self.focus.n_rows, self.focus.n_tokens = size
            self.n_resized += 1
        return is_free

    def bytes_of(self, n_rows: int, n_tokens: int) -> int:
        """Return the bytes that buffers of a size take, and one of a layer before that."""
        there = [layer for layer in self._slots if layer.is_initialized]
        if not there:
            return self._token_bytes * n_rows * n_tokens
        elements = sum(layer.n_elements for layer in there)  # of one token of one row
        itemsize = there[0].keys.element_size()
        return elements * n_rows * n_tokens * itemsize + self.n_bytes // len(there)
