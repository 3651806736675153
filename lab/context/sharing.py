"""Share the space of a window out among summaries, memories and recent exchanges."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lab.context.costs import Costs
from lab.context.pieces import Budget, Candidate, Digest, Exchange


@dataclass(frozen=True)
class Shares:
    """What stands in the window beside the system prompt and the question."""

    recent: Sequence[Exchange] = ()
    """Oldest first."""

    memories: Sequence[Candidate] = ()
    """Best first."""

    summaries: Sequence[Digest] = ()
    """Earliest first."""

    def smaller(self) -> "Shares":
        """Leave out what is missed least."""
        if self.recent:
            return replace(self, recent=self.recent[1:])
        if self.memories:
            return replace(self, memories=self.memories[:-1])
        return replace(self, summaries=self.summaries[1:])


def share_out(
    exchanges: Sequence[Exchange],
    memories: Sequence[Candidate],
    summaries: Sequence[Digest],
    costs: Costs,
    budget: Budget,
    space: int,
) -> Shares:
    """
    Choose what fits.

    Summaries and memories may take their shares, recent exchanges fill the rest from the newest
    back, and what is left goes to older exchanges. A conversation that fits stands word for word;
    of one that does not, what an included summary covers leaves the window, but for the newest
    messages.
    """
    whole = _filled(exchanges, memories, (), costs, budget, space)
    if len(whole.recent) == len(exchanges) and not _n_missing(exchanges):
        return whole
    filled, begin = whole, -1
    while (begins := _begin(exchanges, filled.recent, budget.keep_messages)) > begin:
        begin = begins
        older = [digest for digest in summaries if digest.first_position < begin]
        told = _by_level(older, costs, budget, int(space * budget.summary_share))
        filled = _filled(exchanges, memories, told, costs, budget, space)
    stands = next((t.position for e in filled.recent for t in e if t.source_id), None)
    needed = [d for d in filled.summaries if stands is None or d.first_position < stands]
    return replace(filled, summaries=needed)


def _filled(
    exchanges: Sequence[Exchange],
    memories: Sequence[Candidate],
    told: Sequence[Digest],
    costs: Costs,
    budget: Budget,
    space: int,
) -> Shares:
    """Put recent exchanges and memories beside the summaries."""
    leaves = _leaving(exchanges, told, budget.keep_messages)
    space -= costs.of_notes(told)
    for_memories = int(space * budget.memory_share) if memories else 0
    recent = _newest(exchanges, costs, space - for_memories, leaves)
    chosen = _best(memories, recent, costs, for_memories)[: budget.max_memories]
    left = space - costs.of_exchanges(recent) - costs.of_notes(chosen)
    shown = {turn.key for turn in chosen}
    earlier = _newest(
        exchanges[: len(exchanges) - len(recent)],
        costs,
        left,
        lambda exchange: leaves(exchange) or any(turn.key in shown for turn in exchange),
    )
    return Shares([*earlier, *recent], chosen, told)


def _newest(
    exchanges: Sequence[Exchange],
    costs: Costs,
    space: int,
    leaves: Callable[[Exchange], bool],
) -> list[Exchange]:
    """Return the newest exchanges that fit, oldest first, up to one that leaves."""
    taken: list[Exchange] = []
    for exchange in reversed(exchanges):
        space -= costs.of_exchanges([exchange])
        if space < 0 or leaves(exchange):
            break
        taken.insert(0, exchange)
    return taken


def _best(
    memories: Sequence[Candidate], recent: Sequence[Exchange], costs: Costs, space: int
) -> list[Candidate]:
    """Return the best memories that fit and are not in the window yet, best first."""
    seen = {turn.key for exchange in recent for turn in exchange}
    said: set[object] = set()
    chosen: list[Candidate] = []
    space -= costs.of_heading()
    for turn in memories:
        if not turn.text or turn.key in seen or turn.saying in said:
            continue
        if costs.of_line(turn) <= space:
            space -= costs.of_line(turn)
            said.add(turn.saying)
            chosen.append(turn)
    return chosen


def _by_level(digests: Sequence[Digest], costs: Costs, budget: Budget, space: int) -> list[Digest]:
    """Return the summaries that fit by the weights of their levels, then in what levels leave."""
    space -= costs.of_heading()
    weights = dict(enumerate(budget.level_weights, 1))
    total = sum(weights[level] for level in {digest.level for digest in digests}) or 1
    told: list[Digest] = []
    for level in sorted({digest.level for digest in digests}):
        of_level = [digest for digest in digests if digest.level == level]
        told += _fitting(reversed(of_level), costs, int(space * weights[level] / total))
    left = space - sum(map(costs.of_line, told))
    others = sorted((d for d in digests if d not in told), key=lambda d: -d.level)
    told += _fitting(others, costs, left)
    return sorted(told, key=lambda digest: digest.first_position)


def _fitting(digests: Iterable[Digest], costs: Costs, space: int) -> list[Digest]:
    taken: list[Digest] = []
    for digest in digests:
        if costs.of_line(digest) <= space:
            space -= costs.of_line(digest)
            taken.append(digest)
    return taken


def _leaving(
    exchanges: Sequence[Exchange], told: Sequence[Digest], n_kept: int
) -> Callable[[Exchange], bool]:
    """Return what tells whether an exchange gives way to the summary that covers it."""
    kept = {turn.key for turn in _last(exchanges, n_kept)}

    def leaves(exchange: Exchange) -> bool:
        stored = all(turn.source_id for turn in exchange)
        covered = stored and any(digest.covers(exchange) for digest in told)
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


def _n_missing(exchanges: Sequence[Exchange]) -> int:
    """Return the messages of the conversation before the first that was given."""
    return exchanges[0][0].position if exchanges else 0
