"""How people put a fact or a question into words: starts, ends, capitals, and what goes before."""

from dataclasses import replace

from lab.training.chatter import remark
from lab.training.facts import Fact
from lab.training.values import World

_LEADS = [
    "Remember that ",
    "Please remember that ",
    "Note that ",
    "Don't forget that ",
    "By the way, ",
    "For your information, ",
    "Just so you know, ",
    "You should know that ",
    "Remember: ",
    "Please note: ",
    "I want you to remember that ",
    "Hi! ",
    "Hello, ",
    "FYI ",
    "Did you know that ",
    "Listen, ",
]
_CHANGES = [
    "Actually, ",
    "Correction: ",
    "No, ",
    "From now on ",
    "Update: ",
    "Sorry, ",
    "I was wrong, ",
    "Things have changed: ",
    "Wait, ",
]
_ASK_LEADS = [
    "Please tell me: ",
    "Hey, ",
    "One question: ",
    "By the way, ",
    "Now, ",
    "Quick question: ",
    "So, ",
    "Can you help me? ",
    "Tell me, ",
    "Hi! ",
]
_SMALL_STARTS = (
    "My ",
    "The ",
    "We ",
    "You ",
    "Call ",
    "People ",
    "In ",
    "On ",
    "At ",
    "Of ",
    "What",
    "Wh",
    "How ",
    "Do ",
    "Tell ",
    "Can ",
    "Remind ",
)


def join(lead: str, body: str) -> str:
    """Put a lead before a sentence, without its capital where that is only a sentence's start."""
    if lead and not lead.endswith(("! ", "? ")) and body.startswith(_SMALL_STARTS):
        body = body[0].lower() + body[1:]
    return lead + body


def state(world: World, fact: Fact, change: bool = False) -> tuple[str, Fact]:
    """Return a sentence that states a fact, and the fact as it was written."""
    slot = fact.slot
    if change and slot.updates and world.chance(0.4):
        body, lead = world.pick(slot.updates).format(v=fact.value), ""
    else:
        body = world.pick(slot.states).format(v=fact.value)
        lead = world.pick(_CHANGES) if change and world.chance(0.6) else ""
        lead = lead or (world.pick(_LEADS) if world.chance(0.25) else "")
    if lead.startswith("Did you know"):
        return join(lead, body) + "?", fact
    text = join(lead, body) + _end(world, ".")
    if world.chance(0.06):
        return text.lower(), replace(fact, value=fact.value.lower())
    if world.chance(0.06):
        text = text[0].lower() + text[1:]
    return text, fact


def around(world: World, text: str) -> str:
    """Put small talk before or after a statement."""
    roll = world.random.random()
    if roll < 0.06:
        return f"{remark(world)} {text}"
    return f"{text} {remark(world)}" if roll < 0.12 and text.endswith((".", "!")) else text


def ask(world: World, question: str) -> str:
    """Return a question as people type it."""
    if world.chance(0.12):
        question = join(world.pick(_ASK_LEADS), question)
    elif world.chance(0.05):
        question = f"{remark(world)} {question}"
    if world.chance(0.12):
        question = question.rstrip("?.")
    if world.chance(0.08):
        question = question[0].lower() + question[1:]
    return question.replace("colour", "color") if world.chance(0.05) else question


def _end(world: World, usual: str) -> str:
    return world.pick((usual, usual, usual, usual, "", "!"))
