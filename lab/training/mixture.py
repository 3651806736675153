"""The mixture: which kinds of dialogue, how large, how often; it grows from phase to phase."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from lab.training import chores, drills
from lab.training.conversation import Chat, Shape
from lab.training.dialogue import Dialogue
from lab.training.names import Half
from lab.training.values import World

Mix = Mapping[str, float]
"""Weight of each kind of dialogue."""


def _chat(world: World, shape: Shape) -> Dialogue:
    return Chat(world, shape).write()


def _few(world: World) -> Dialogue:
    return _chat(world, Shape(world.random.randint(1, 3), world.random.randint(3, 6)))


def _some(world: World) -> Dialogue:
    n_facts = world.random.randint(2, 8)
    return _chat(world, Shape(n_facts, n_facts + world.random.randint(2, 8)))


def _many(world: World) -> Dialogue:
    n_facts = world.random.randint(8, 20)
    return _chat(
        world, Shape(n_facts, n_facts + world.random.randint(4, 10), weights=(8, 4, 1.5, 1, 1, 0))
    )


def _changes(world: World) -> Dialogue:
    n_facts = world.random.randint(1, 6)
    return _chat(
        world, Shape(n_facts, n_facts + world.random.randint(4, 10), weights=(3, 5, 1, 4, 1, 0))
    )


def _memories(world: World) -> Dialogue:
    n_facts = world.random.randint(1, 12)
    shape = Shape(
        n_facts,
        world.random.randint(2, 6),
        memory_share=world.random.choice((1.0, 1.0, 0.7)),
        n_noise=world.random.randint(0, 10),
        weights=(1.5, 6, 2, 0.8, 1.5, 0),
    )
    return _chat(world, shape)


def _distant(world: World) -> Dialogue:
    """Return a full window: facts in the memories, then small talk for long, then the questions."""
    shape = Shape(
        world.random.randint(1, 10),
        world.random.randint(4, 16),
        memory_share=1.0 if world.chance(0.7) else 0.5,
        n_noise=world.random.randint(0, 10),
        weights=(1, 1.6, 0.6, 0.2, 6, 0),
        n_questions=world.random.randint(2, 6),
    )
    return _chat(world, shape)


def _quiz(world: World) -> Dialogue:
    """Facts and changes, some in the memories, then one question after another."""
    n_facts = world.random.randint(3, 20)
    share = world.random.choice((0.0, 0.5, 1.0, 1.0))
    shape = Shape(
        n_facts,
        round((1 - share) * n_facts) + world.random.randint(1, 4),
        memory_share=share,
        n_noise=world.random.randint(0, 8),
        weights=(6, 0, 0, 1.5, 1, 0),
        n_questions=world.random.randint(4, 12),
    )
    return _chat(world, shape)


def _idle(world: World) -> Dialogue:
    return _chat(world, Shape(1, world.random.randint(2, 5), weights=(0.3, 0.5, 0.7, 0.1, 5, 0)))


def _tools(world: World) -> Dialogue:
    n_facts = world.random.randint(1, 4)
    share = world.random.choice((0.0, 0.0, 0.5, 1.0))
    shape = Shape(
        n_facts,
        world.random.randint(4, 8),
        share,
        world.random.choice((0, 0, 3)),
        (1.5, 2, 1, 0.3, 2, 5),
        True,
    )
    return _chat(world, shape)


def _lab(world: World) -> Dialogue:
    """Return what the lab itself sends: tools, memories, and now and then a tool that is due."""
    shape = Shape(
        world.random.randint(1, 8),
        world.random.randint(3, 7),
        memory_share=world.random.choice((0.0, 1.0, 1.0)),
        n_noise=world.random.randint(0, 6),
        weights=(1.5, 4, 1.5, 0.5, 2.5, 1),
        with_tools=True,
    )
    return _chat(world, shape)


def _json(world: World) -> Dialogue:
    share = world.random.choice((0.0, 1.0))
    return _chat(
        world, Shape(world.random.randint(1, 5), world.random.randint(1, 5), share, json=True)
    )


def _think(world: World) -> Dialogue:
    build = world.random.choice((_few, _few, _tools))
    plain = Shape(world.random.randint(1, 4), world.random.randint(3, 6), think=True)
    if build is _tools:
        plain = replace(plain, with_tools=True, weights=(2, 2, 1, 0.3, 1, 3))
    return _chat(world, plain)


KINDS: dict[str, Callable[[World], Dialogue]] = {
    "repeat": drills.repeat,
    "pairs": drills.pairs,
    "few": _few,
    "some": _some,
    "many": _many,
    "changes": _changes,
    "memories": _memories,
    "distant": _distant,
    "quiz": _quiz,
    "idle": _idle,
    "tools": _tools,
    "lab": _lab,
    "json": _json,
    "think": _think,
    "intent": chores.intent,
    "title": chores.title,
    "summary": chores.summary,
    "listing": chores.listing,
}


def dialogues(seed: int, mix: Mix, half: Half = "train") -> Iterator[Dialogue]:
    """Yield dialogues of a mixture without end, the same for the same seed."""
    world = World(seed, half)
    kinds, weights = tuple(mix), tuple(mix.values())
    while True:
        kind = world.random.choices(kinds, weights=weights)[0]
        yield replace(KINDS[kind](world), kind=kind)
