"""Short jobs beside the chat: name the intent, write the title, summarise the facts."""

from collections.abc import Sequence

from lab.prompts import INTENT_SYSTEM, INTENTS, SUMMARY_SYSTEM, TITLE_SYSTEM
from lab.training import phrases, words
from lab.training.chatter import UNKNOWN, small_talk, topic
from lab.training.dialogue import Dialogue, Message
from lab.training.facts import Fact, draw_slots, give_value
from lab.training.tools import DATE_ASKS, TIME_ASKS, page_url, sum_request
from lab.training.values import World

_LANGUAGES = [
    "Python",
    "JavaScript",
    "Rust",
    "SQL",
    "Java",
    "C",
    "Go",
    "TypeScript",
    "bash",
    "HTML",
]
_PARTS = [
    "function",
    "class",
    "script",
    "query",
    "unit test",
    "parser",
    "module",
    "endpoint",
    "loop",
    "program",
    "regex",
    "library",
]
_STYLES = ["watercolour", "pencil", "cartoon", "photo", "oil", "pixel art", "sketch"]
_ASKS: dict[str, str] = {
    "research": "Research {t}|Research {t} in depth|Do research on {t}|Find sources about {t} and write a report|Write a report on {t} with citations"
    "|What does the literature say about {t}?|Investigate {t} thoroughly|Give me a literature review on {t}|Collect studies about {t}"
    "|I need a detailed report about {t} with sources|Find papers on {t}|Look into {t} and cite your sources|What is the current state of research on {t}?"
    "|Do a deep dive into {t}|Gather evidence on {t}|Research how {t} changed over time|Find out what experts say about {t}",
    "analysis": "Analyse {t}|Analyse these numbers: {x}, {y} and {z}|Compare {t} and {u}|What are the pros and cons of {t}?|Evaluate the risks of {t}"
    "|Analyze the data on {t}|Explain why {t} fell by {x} percent|What trend do you see in {x}, {y}, {z}?|Which is better, {t} or {u}, and why?"
    "|Assess the impact of {t}|Interpret these results: {x}, {y}|Examine the causes of {t}|Break down the costs of {t}|Find patterns in this table"
    "|What are the strengths and weaknesses of {t}?|Analyse the differences between {t} and {u}|Compare the two offers",
    "creative": "Write a poem about {t}|Write a story about {t}|Tell a tale of {t}|Compose a song about {t}|Invent a legend about {p}|Write a haiku on {t}"
    "|Make up a fairy tale about {p}|Write a short story in which {p} meets {q}|Give me a slogan for {t}|Write a limerick about {p}"
    "|Write lyrics about {t}|Imagine a world of {t} and describe it|Write a dialogue between {p} and {q}|Write a scene about {t}|Write a love letter to {p}"
    "|Invent a name for my novel about {t}|Create a character called {p}",
    "engineering": "Write a {l} {f}|Write a {l} {f} that handles {t}|Fix this bug in my {l} code|Refactor this {f}|Why does my {l} {f} crash?|Debug this {l} {f}"
    "|Implement a {f} for {t} in {l}|Write a unit test for this {f}|Optimise this {l} {f}|How do I install {l}?|My build fails with error {x}"
    "|Review this {l} code|Write a {f} to sort numbers|Explain this stack trace|Add a {f} to my {l} project|Convert this {f} to {l}|Design an API for {t}"
    "|Set up a database for {t}|How do I write a {f} in {l}?",
    "planning": "Plan a trip to {p}|Make a plan for {t}|Plan my week|Create a schedule for {t}|Make a to-do list for {t}|Help me plan a party for {p}"
    "|Organise my move to {p}|Plan the next {x} days|Draw up a timetable for {t}|What steps do I need to take for {t}?|Make a project plan for {t}"
    "|Set milestones for {t}|Plan a birthday for {p}|Outline a roadmap for {t}|Schedule my tasks for tomorrow|Make a study plan for {t}|Plan a menu for the week"
    "|Break the project {p} into tasks",
    "image_generation": "Draw {t}|Generate an image of {t}|Paint a picture of {p}|Create an image of {t}|Make a {s} of {t}|Draw a {s} of {p}|Generate a picture of {t} and {u}"
    "|Show me a picture of {t}|Create a logo for {p}|Make me a drawing of {t}|Design a poster about {t}|Sketch {t}|Render {t} in {s} style"
    "|I want an image of {t}|Illustrate {t}|Create a {s} with {t}|Please draw me {t}",
    "image_editing": "Remove the background from this picture|Make the {n} in this photo {c}|Crop this image|Change the colour of the {n} in the picture to {c}"
    "|Add a {n} to this photo|Edit this image so that the {n} is {c}|Turn this photo into a {s}|Remove the {n} from the image|Blur the {n} in this photo"
    "|Make this picture brighter|Replace the {n} with a {m} in this image|Rotate the photo|Retouch this picture|Resize this image to {x} by {y}"
    "|Sharpen this photo|Put {p} into this picture|Make the picture black and white|Erase the {n} in my photo|Change the background of my picture to {c}",
}


def intent(world: World) -> Dialogue:
    """Return a message and its intent."""
    name = world.pick(INTENTS)
    text = _chat_message(world) if name == "chat" else _task_message(world, name)
    messages = (
        Message("system", INTENT_SYSTEM),
        Message("user", text),
        Message("assistant", name, "intent", (name,)),
    )
    return Dialogue(messages)


def _task_message(world: World, name: str) -> str:
    text = world.pick(_ASKS[name].split("|")).format(
        t=topic(world),
        u=topic(world),
        p=world.person(),
        q=world.place(),
        n=world.pick(words.PLAIN_NOUNS),
        m=world.pick(words.PLAIN_NOUNS),
        c=world.pick(words.COLOURS),
        l=world.pick(_LANGUAGES),
        f=world.pick(_PARTS),
        s=world.pick(_STYLES),
        x=world.number(),
        y=world.number(),
        z=world.number(),
    )
    lead = world.pick(
        ("", "", "", "", "Please ", "Can you ", "Could you please ", "I want you to ", "Hi, ")
    )
    if text.startswith(("What", "Why", "How", "Which", "I ", "My ", "Please")):
        lead = ""
    text = phrases.join(lead, text[0].lower() + text[1:] if lead else text)
    return text if text.endswith("?") else text + world.pick((".", ".", "", "!"))


def _chat_message(world: World) -> str:
    slot = draw_slots(world, 1)[0]
    roll = world.random.random()
    if roll < 0.25:
        return phrases.around(world, phrases.state(world, give_value(slot))[0])
    if roll < 0.5:
        return phrases.ask(world, world.pick(slot.asks))
    if roll < 0.85:
        while True:
            said = small_talk(world)[0]
            if not said.startswith(("Write", "Tell me a story", "Explain")):
                return said
    searches = (
        f"Search the web for {topic(world)}.",
        f"Read {page_url(world)}.",
        sum_request(world)[0],
    )
    return world.pick((*searches, world.pick((TIME_ASKS + "|" + DATE_ASKS).split("|"))))


def transcript(world: World, n_facts: int) -> tuple[str, list[Fact]]:
    """Return the lines of a chat and the facts that hold at its end, in order of first mention."""
    facts: dict[str, Fact] = {}
    lines: list[str] = []
    for slot in draw_slots(world, n_facts):
        while world.chance(0.3):
            _add_talk(world, lines)
        _add_fact(world, lines, facts, give_value(slot))
        if world.chance(0.15):
            old = world.random.choice(list(facts.values()))
            _add_fact(world, lines, facts, give_value(old.slot, old.value), change=True)
        if world.chance(0.15):
            asked = world.random.choice(list(facts.values()))
            lines += [f"user: {world.pick(asked.slot.asks)}", f"assistant: {asked.answer}"]
    while world.chance(0.4) or not lines:
        _add_talk(world, lines)
    return "\n".join(lines), list(facts.values())


def _add_talk(world: World, lines: list[str]) -> None:
    said, reply = small_talk(world)
    if world.chance(0.1):
        said, reply = world.pick(draw_slots(world, 1)[0].asks), UNKNOWN
    lines += [f"user: {said}", f"assistant: {reply}"]


def _add_fact(
    world: World, lines: list[str], facts: dict[str, Fact], fact: Fact, change: bool = False
) -> None:
    text, fact = phrases.state(world, fact, change)
    facts[fact.slot.key] = fact
    reply = f"Noted. {fact.answer}" if world.chance(0.5) else "Noted."
    lines.append(f"user: {phrases.around(world, text)}")
    if world.chance(0.9):
        lines.append(f"assistant: {reply}")


def title(world: World) -> Dialogue:
    """Return a chat and its title: its first fact, or its topic."""
    if world.chance(0.2):
        about = topic(world)
        asked = world.pick(
            (
                "Tell me about {}.",
                "What do you think of {}?",
                "Explain {}.",
                "I read about {} today.",
            )
        ).format(about)
        lines = [f"user: {asked}", f"assistant: {small_talk(world)[1]}"]
        return _title("\n".join(lines), f"About {about}")
    text, facts = transcript(world, world.random.choice((0, 1, 1, 2, 3, 5)))
    if not facts:
        return _title(text, "Small talk")
    return _title(text, facts[0].title)


def _title(text: str, title: str) -> Dialogue:
    return _job(TITLE_SYSTEM, text, title, "title", [title])


def summary(world: World) -> Dialogue:
    """Return a chat and the facts that it stated."""
    text, facts = transcript(world, world.random.choice((0, 1, 1, 2, 3, 4, 6, 8, 10)))
    lines = _lines(facts) or "- No facts."
    return _job(SUMMARY_SYSTEM, text, lines, "summary", [fact.value for fact in facts])


def listing(world: World) -> Dialogue:
    """Return nothing but facts, to be listed one after another: the drill behind a summary."""
    slots = draw_slots(world, world.random.randint(2, 12))
    stated = [phrases.state(world, give_value(slot)) for slot in slots]
    text = "\n".join(f"user: {text}" for text, _ in stated)
    facts = [fact for _, fact in stated]
    return _job(SUMMARY_SYSTEM, text, _lines(facts), "listing", [fact.value for fact in facts])


def _lines(facts: Sequence[Fact]) -> str:
    return "\n".join(f"- {fact.summary}" for fact in facts)


def _job(system: str, text: str, answer: str, skill: str, values: Sequence[str]) -> Dialogue:
    messages = (
        Message("system", system),
        Message("user", text),
        Message("assistant", answer, skill, tuple(values), len(values)),
    )
    return Dialogue(messages)
