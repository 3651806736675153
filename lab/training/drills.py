"""Drills: nothing but copying, so that the model learns to copy before it has to know what."""

from lab.training.dialogue import Dialogue, Message
from lab.training.values import World

_REPEATS = (
    "Repeat: {}",
    "Say: {}",
    "Repeat after me: {}",
    "Please repeat: {}",
    "Copy this: {}",
    "Echo: {}",
)


def repeat(world: World) -> Dialogue:
    """Return names and numbers to be repeated word for word."""
    messages = []
    for _ in range(world.random.randint(1, 3)):
        text = " ".join(_word(world) for _ in range(world.random.randint(1, 10)))
        messages += [
            Message("user", world.pick(_REPEATS).format(text)),
            Message("assistant", text, "repeat", (text,)),
        ]
    return Dialogue(tuple(messages))


def pairs(world: World) -> Dialogue:
    """Return a list of pairs and a question for each of them, in another order."""
    table = {_word(world): _word(world) for _ in range(world.random.randint(2, 10))}
    lines = [f"{key} is {value}." for key, value in table.items()]
    messages = [Message("user", " ".join(lines)), Message("assistant", "Noted.")]
    asked = list(table.items())
    world.random.shuffle(asked)
    for key, value in asked:
        question = world.pick(("What is {}?", "And {}?", "{}?", "Who is {}?")).format(key)
        messages += [
            Message("user", question),
            Message("assistant", f"{key} is {value}.", "pairs", (value,)),
        ]
    return Dialogue(tuple(messages))


def _word(world: World) -> str:
    roll = world.random.random()
    if roll < 0.25:
        return world.code()
    if roll < 0.35:
        return world.clock()
    return world.names.word() if roll < 0.45 else world.person()
