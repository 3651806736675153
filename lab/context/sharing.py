"""Share the space of a window out among sources and recent exchanges."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from lab.context.costs import Costs
from lab.context.pieces import (
    BLOCKS,
    Candidate,
    Chosen,
    Digest,
    Exchange,
    Source,
    Summaries,
    summaries,
)


@dataclass(frozen=True)
class Told(Chosen):
    """The summaries that stand in the window, the newest first."""

    source: Summaries
    pieces: Sequence[Digest] = ()


@dataclass(frozen=True)
class Shares:
    """What stands in the window beside the system prompt and the question."""

    recent: Sequence[Exchange] = ()
    """Oldest first."""

    chosen: Sequence[Chosen] = ()
    """Of each source, summaries last."""

    @cached_property
    def recent_keys(self) -> set[object]:
        """Keys of the recent turns, and of their copies in forks."""
        turns = [turn for exchange in self.recent for turn in exchange]
        return {key for turn in turns for key in (turn.key, turn.told)}

    @cached_property
    def begin(self) -> int | None:
        """Position of the first recent message that is stored, if there is one."""
        return next((t.position for e in self.recent for t in e if t.source_id), None)

    def without_repeats(self) -> "Shares":
        """Leave out what the recent turns say, once all of them are there."""
        return replace(
            self,
            chosen=[
                replace(one, pieces=[p for p in one.pieces if not self.say(p)])
                for one in self.chosen
            ],
        )

    def say(self, piece: Candidate) -> bool:
        """Return whether the recent turns say what a piece does."""
        return piece.stands_among(self.recent_keys, self.begin)

    @property
    def blocks(self) -> str:
        """What is chosen, as it stands in the system message: sources may share a block."""
        return "".join(
            block.of([p for one in self.chosen if one.source.block == block for p in one.pieces])
            for block in BLOCKS
        )

    def smaller(self) -> "Shares":
        """Leave out the oldest exchange, or the last piece of the source that has most of them."""
        if self.recent:
            return replace(self, recent=self.recent[1:])
        fullest = max(self.chosen, key=lambda one: len(one.pieces))
        return replace(
            self,
            chosen=[
                replace(one, pieces=one.pieces[:-1]) if one is fullest else one
                for one in self.chosen
            ],
        )


NO_SUMMARIES: Final = summaries([], share=0, level_weights=(), keep_messages=0)


def share_out(
    exchanges: Sequence[Exchange], sources: Sequence[Source], costs: Costs, space: int
) -> Shares:
    """
    Choose what fits.

    Each source may take its share, recent exchanges fill the rest from the newest back, and what
    the sources do not use goes to older exchanges. A conversation that fits stands word for word.
    Of one that does not, summaries take their share first, and what they cover leaves the window,
    but for the newest messages.
    """
    found = [s for s in sources if s.candidates and not isinstance(s, Summaries)]
    summed_up = next((s for s in sources if isinstance(s, Summaries)), NO_SUMMARIES)
    shares = _filled(exchanges, found, Told(summed_up), costs, space)
    if not summed_up.candidates or _is_whole(exchanges, shares.recent):
        return shares
    told, begin = Told(summed_up), -1
    while (begins := _begin(exchanges, shares.recent, summed_up.keep_messages)) > begin:
        begin = begins
        told = Told(summed_up, _by_level(summed_up, begin, costs, space))
        shares = _filled(exchanges, found, told, costs, space)
    stands = shares.begin
    needed = [d for d in told.pieces if stands is None or d.first_position < stands]
    return replace(shares, chosen=[*shares.chosen[:-1], Told(summed_up, needed)])


def n_missing(exchanges: Sequence[Exchange]) -> int:
    """Return the messages of the conversation before the first that was given."""
    return exchanges[0][0].position if exchanges else 0


def _is_whole(exchanges: Sequence[Exchange], recent: Sequence[Exchange]) -> bool:
    return len(recent) == len(exchanges) and not n_missing(exchanges)


def _filled(
    exchanges: Sequence[Exchange], found: Sequence[Source], told: Told, costs: Costs, space: int
) -> Shares:
    """Put recent exchanges and what was found beside the summaries."""
    leaves = _leaving(exchanges, told)
    space -= costs.of_chosen(told)
    all_shares = max(1.0, sum(source.share for source in found))
    kept = [
        min(int(space * source.share / all_shares), _most_tokens(source, costs)) for source in found
    ]
    recent = _newest(exchanges, costs, space - sum(kept), leaves)
    said = Shares(recent)
    chosen = [
        Chosen(source, _best(source, said, costs, room))
        for source, room in zip(found, kept, strict=True)
    ]
    left = space - costs.of_exchanges(recent) - sum(map(costs.of_chosen, chosen))
    standing = {piece.key for one in chosen for piece in one.pieces}
    earlier = _newest(
        exchanges[: len(exchanges) - len(recent)],
        costs,
        left,
        lambda exchange: leaves(exchange) or any(turn.key in standing for turn in exchange),
    )
    return Shares([*earlier, *recent], [*chosen, told]).without_repeats()


def _most_tokens(source: Source, costs: Costs) -> int:
    """Return the tokens of the longest pieces of a source, as many as may stand."""
    lines = sorted(map(costs.of_line, source.candidates), reverse=True)
    return costs.of_heading(source.block) + sum(lines[: source.most])


def _newest(
    exchanges: Sequence[Exchange], costs: Costs, space: int, leaves: Callable[[Exchange], bool]
) -> list[Exchange]:
    """Return the newest exchanges that fit, oldest first, up to one that leaves."""
    taken: list[Exchange] = []
    for exchange in reversed(exchanges):
        space -= costs.of_exchanges([exchange])
        if space < 0 or leaves(exchange):
            break
        taken.insert(0, exchange)
    return taken


def _best(source: Source, recent: Shares, costs: Costs, space: int) -> list[Candidate]:
    """Return the best pieces that fit and are not in the window yet, best first."""
    said: set[object] = set()
    chosen: list[Candidate] = []
    space -= costs.of_heading(source.block)
    for piece in source.candidates:
        if not piece.text or recent.say(piece) or piece.saying in said:
            continue
        if costs.of_line(piece) <= space:
            space -= costs.of_line(piece)
            said.add(piece.saying)
            chosen.append(piece)
    return chosen[: source.most]


def _by_level(source: Summaries, before: int, costs: Costs, space: int) -> list[Digest]:
    """
    Return the summaries that begin before a position and fit, the newest first.

    Each level has its part of the share by its weight; what one leaves goes to the others.
    """
    older = [digest for digest in source.candidates if digest.first_position < before]
    space = int(space * source.share) - costs.of_heading(source.block)
    weights = dict(enumerate(source.level_weights, 1))
    levels = sorted({digest.level for digest in older})
    total = sum(weights[level] for level in levels) or 1
    told: list[Digest] = []
    for level in levels:
        of_level = [digest for digest in older if digest.level == level]
        told += _fitting(reversed(of_level), costs, int(space * weights[level] / total))
    left = space - sum(map(costs.of_line, told))
    others = sorted((d for d in older if d not in told), key=lambda digest: -digest.level)
    told += _fitting(others, costs, left)
    return sorted(told, key=lambda digest: -digest.first_position)


def _fitting(digests: Iterable[Digest], costs: Costs, space: int) -> list[Digest]:
    taken: list[Digest] = []
    for digest in digests:
        if costs.of_line(digest) <= space:
            space -= costs.of_line(digest)
            taken.append(digest)
    return taken


def _leaving(exchanges: Sequence[Exchange], told: Told) -> Callable[[Exchange], bool]:
    """Return what tells whether an exchange gives way to the summary that covers it."""
    kept = {turn.key for turn in _last(exchanges, told.source.keep_messages)}

    def leaves(exchange: Exchange) -> bool:
        covered = any(digest.covers(exchange) for digest in told.pieces)
        return covered and not any(turn.key in kept for turn in exchange)

    return leaves


def _begin(exchanges: Sequence[Exchange], recent: Sequence[Exchange], n_kept: int) -> int:
    """Return the position before which summaries are of use: older than what stands or is kept."""
    stored = [turn for exchange in recent for turn in exchange if turn.source_id]
    if not stored:
        return max((t.position for e in exchanges for t in e if t.source_id), default=-1) + 1
    kept = [turn.position for turn in _last(exchanges, n_kept) if turn.source_id]
    return max(stored[0].position, min(kept, default=stored[-1].position + 1))


def _last(exchanges: Sequence[Exchange], n_messages: int) -> list[Candidate]:
    turns = [turn for exchange in exchanges for turn in exchange]
    return turns[max(0, len(turns) - n_messages) :]
