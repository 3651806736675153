"""Slots: the kinds of things that can be known, and the many ways people speak of them.

A slot of a dialogue ("my dog's name") has ways to state a value, ways to ask for it and one way to
answer. The answer always repeats the question's words in one form, which makes copying learnable.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.training import words
from lab.training.values import World


@dataclass(frozen=True)
class Slot:
    """One thing that can be known; `{v}` stands for its value."""

    key: str
    """Unique name, also the key in JSON answers."""
    states: tuple[str, ...]
    asks: tuple[str, ...]
    answer: str
    """The answer to the user."""
    summary: str
    """The same fact in the third person, for summaries."""
    title: str
    topic: str
    """What is asked for, in a few words, for thinking."""
    value: Callable[[], str] = field(repr=False)
    updates: tuple[str, ...] = ()
    """Ways to state it that only make sense for a change."""


def _slot(
    key: str, states: str, asks: str, texts: str, value: Callable[[], str], updates: str = ""
) -> Slot:
    """Build a slot from texts whose alternatives are separated by `|`."""

    def split(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split("|") if part.strip())

    answer, summary, title, topic = split(texts)
    key = key.lower().replace(" ", "_")
    return Slot(
        key, split(states), split(asks), answer, summary, title, topic, value, split(updates)
    )


def named(world: World, noun: str, person: bool = False) -> Slot:
    """Return the slot of the name of the user's dog, sister, boat."""
    who = f"| Who is my {noun}? | Who's my {noun}?" if person else f"| How is my {noun} called?"
    return _slot(
        f"{noun} name",
        f"My {noun} is called {{v}} | My {noun}'s name is {{v}} | I have a {noun} called {{v}} | {{v}} is my {noun}"
        f"| I have a {noun} named {{v}} | The name of my {noun} is {{v}} | {{v}} is the name of my {noun}"
        f"| My {noun} is named {{v}} | We call our {noun} {{v}} | My {noun}'s name is {{v}} | My {noun} is called {{v}}",
        f"What is my {noun} called? | What is my {noun}'s name? | What's my {noun}'s name? | What's my {noun} called?"
        f"| What is the name of my {noun}? | What is my {noun} named? | Tell me my {noun}'s name. | Remind me what my {noun} is called."
        f"| Do you remember my {noun}'s name? | Do you know what my {noun} is called? | Can you tell me the name of my {noun}?"
        f"| What was my {noun}'s name? | What was my {noun} called again? | Name my {noun}. | Which name does my {noun} have? {who}",
        f"Your {noun} is called {{v}}. | The user's {noun} is called {{v}}. | The {noun} called {{v}} | the {noun}'s name",
        world.person,
        f"My {noun} is now called {{v}} | I renamed my {noun} to {{v}} | My {noun}'s new name is {{v}}",
    )


def favourite(world: World, thing: str) -> Slot:
    """Return the slot of the user's favourite colour, book."""
    return _slot(
        f"favourite {thing}",
        f"My favourite {thing} is {{v}} | My favorite {thing} is {{v}} | {{v}} is my favourite {thing} | My favourite {thing} is {{v}}"
        f"| The {thing} I like best is {{v}} | Of all the {thing}s I like {{v}} best",
        f"What is my favourite {thing}? | What's my favourite {thing}? | What is my favorite {thing}? | Which {thing} do I like best?"
        f"| Do you remember my favourite {thing}? | Tell me my favourite {thing}. | What was my favorite {thing}?"
        f"| Do you know my favourite {thing}? | Which is my favourite {thing}? | Remind me of my favourite {thing}.",
        f"Your favourite {thing} is {{v}}. | The user's favourite {thing} is {{v}}. | The favourite {thing} {{v}} | the favourite {thing}",
        lambda: world.favourite(thing),
        f"My new favourite {thing} is {{v}} | My favourite {thing} is now {{v}}",
    )


def attribute(world: World, noun: str, prop: str, value: Callable[[], str]) -> Slot:
    """Return the slot of a property of something the user has: my car's price."""
    return _slot(
        f"{noun} {prop}",
        f"My {noun}'s {prop} is {{v}} | The {prop} of my {noun} is {{v}} | {{v}} is the {prop} of my {noun} | My {noun}'s {prop} is {{v}}",
        f"What is my {noun}'s {prop}? | What is the {prop} of my {noun}? | What's my {noun}'s {prop}? | Tell me my {noun}'s {prop}."
        f"| Do you remember the {prop} of my {noun}? | Do you know my {noun}'s {prop}? | What was my {noun}'s {prop}?",
        f"Your {noun}'s {prop} is {{v}}. | The user's {noun}'s {prop} is {{v}}. | The {noun}'s {prop} {{v}} | the {noun}'s {prop}",
        value,
        f"My {noun}'s {prop} is now {{v}} | My {noun}'s new {prop} is {{v}}",
    )


def simple(world: World, prop: str, value: Callable[[], str]) -> Slot:
    """Return the slot of something the user has one of: my phone number."""
    return _slot(
        prop,
        f"My {prop} is {{v}} | {{v}} is my {prop} | My {prop} is {{v}} | The value of my {prop} is {{v}}",
        f"What is my {prop}? | What's my {prop}? | Tell me my {prop}. | Do you remember my {prop}? | What was my {prop}?"
        f"| Do you know my {prop}? | Can you tell me my {prop}? | Remind me of my {prop}.",
        f"Your {prop} is {{v}}. | The user's {prop} is {{v}}. | The {prop} {{v}} | the {prop}",
        value,
        f"My new {prop} is {{v}} | My {prop} is now {{v}} | My {prop} has changed to {{v}}",
    )


def colour(world: World, noun: str) -> Slot:
    """Return the slot of the colour of something the user has."""
    return _slot(
        f"{noun} colour",
        f"My {noun} is {{v}} | I have a {{v}} {noun} | The colour of my {noun} is {{v}} | My {noun}'s colour is {{v}}",
        f"What colour is my {noun}? | What color is my {noun}? | Which colour is my {noun}? | What is the colour of my {noun}?"
        f"| Which colour does my {noun} have? | Tell me the colour of my {noun}. | What is the color of my {noun}?",
        f"Your {noun} is {{v}}. | The user's {noun} is {{v}}. | The {noun} is {{v}} | the {noun}'s colour",
        lambda: world.common(words.COLOURS),
        f"I painted my {noun} {{v}} | My {noun} is now {{v}}",
    )


def lives(world: World, who: str, owner: str) -> Slot:
    """Return the slot of where a person lives; `who` is a name or "my sister"."""
    big, they = who[0].upper() + who[1:], who.replace("my ", "your ")
    shown, owner = f"The {owner}" if owner else who, owner or who
    return _slot(
        f"{owner} city",
        f"{big} lives in {{v}} | {big}'s home is in {{v}} | {big} has a house in {{v}} | {big} lives in {{v}}",
        f"Where does {who} live? | In which city does {who} live? | Which city does {who} live in? | Do you know where {who} lives?"
        f"| What city does {who} live in? | Tell me where {who} lives. | Where is {who}'s home? | Do you remember where {who} lives?",
        f"{they[0].upper() + they[1:]} lives in {{v}}. | {_third(who)} lives in {{v}}."
        f"| {shown} lives in {{v}} | where {_third(who, False)} lives",
        world.place,
        f"{big} moved to {{v}} | {big} has moved to {{v}} | {big} now lives in {{v}}",
    )


def works(world: World, who: str, owner: str) -> Slot:
    """Return the slot of a person's job."""
    big, they = who[0].upper() + who[1:], who.replace("my ", "your ")
    shown, owner = f"The {owner}" if owner else who, owner or who
    return _slot(
        f"{owner} job",
        f"{big} works as a {{v}} | {big} is a {{v}} | {big}'s job is {{v}} | {big} earns a living as a {{v}}",
        f"What does {who} do? | What is {who}'s job? | What does {who} work as? | What does {who} do for a living? | What's {who}'s job?"
        f"| What is {who}'s profession? | Do you know {who}'s job? | Tell me {who}'s job.",
        f"{they[0].upper() + they[1:]} works as a {{v}}. | {_third(who)} works as a {{v}}."
        f"| {shown} works as {{v}} | {_third(who, False)}'s job",
        lambda: world.common(words.JOBS),
        f"{big} now works as a {{v}} | {big} has become a {{v}}",
    )


def ages(world: World, who: str, owner: str) -> Slot:
    """Return the slot of how old a person is."""
    big, they = who[0].upper() + who[1:], who.replace("my ", "your ")
    shown, owner = f"The {owner}" if owner else who, owner or who
    return _slot(
        f"{owner} age",
        f"{big} is {{v}} years old | {big}'s age is {{v}} | {big} is {{v}}",
        f"How old is {who}? | What is {who}'s age? | What age is {who}? | Do you know how old {who} is? | Tell me how old {who} is.",
        f"{they[0].upper() + they[1:]} is {{v}} years old. | {_third(who)} is {{v}} years old."
        f"| {shown} is {{v}} | {_third(who, False)}'s age",
        world.number,
        f"{big} is now {{v}} years old | {big} turned {{v}}",
    )


def of_person(world: World, who: str, prop: str, value: Callable[[], str]) -> Slot:
    """Return the slot of a property of someone or something with a name."""
    return _slot(
        f"{who} {prop}",
        f"{who}'s {prop} is {{v}} | The {prop} of {who} is {{v}} | {{v}} is {who}'s {prop} | {{v}} is the {prop} of {who}",
        f"What is {who}'s {prop}? | What is the {prop} of {who}? | What's {who}'s {prop}? | Do you know the {prop} of {who}?"
        f"| Tell me {who}'s {prop}. | Do you remember {who}'s {prop}? | What was the {prop} of {who}?",
        f"{who}'s {prop} is {{v}}. | {who}'s {prop} is {{v}}. | {who}'s {prop} {{v}} | {who}'s {prop}",
        value,
        f"{who}'s {prop} is now {{v}} | {who}'s new {prop} is {{v}}",
    )


def place_of(world: World, thing: str) -> Slot:
    """Return the slot of where a thing is."""
    spot = f"{world.pick(words.PREPOSITIONS)} the"
    return _slot(
        f"{thing} place",
        f"The {thing} is {{v}} | I put the {thing} {{v}} | You find the {thing} {{v}} | We keep the {thing} {{v}} | I left the {thing} {{v}}",
        f"Where is the {thing}? | Where did I put the {thing}? | Where's the {thing}? | Do you know where the {thing} is?"
        f"| Where can I find the {thing}? | Tell me where the {thing} is. | Where do we keep the {thing}? | Where did I leave the {thing}?",
        f"The {thing} is {{v}}. | The {thing} is {{v}}. | The {thing} is {{v}} | where the {thing} is",
        lambda: f"{spot} {world.common(words.SPOTS)}",
        f"I moved the {thing}, it is now {{v}} | The {thing} is now {{v}}",
    )


def code_of(world: World, lock: str, kind: str) -> Slot:
    """Return the slot of a code or password."""
    return _slot(
        f"{lock} {kind}",
        f"The {lock} {kind} is {{v}} | The {kind} of the {lock} is {{v}} | {{v}} is the {lock} {kind} | The {kind} for the {lock} is {{v}}",
        f"What is the {lock} {kind}? | What is the {kind} of the {lock}? | What's the {lock} {kind}? | Tell me the {lock} {kind}."
        f"| What is the {kind} for the {lock}? | Do you remember the {lock} {kind}? | Do you know the {kind} of the {lock}?",
        f"The {lock} {kind} is {{v}}. | The {lock} {kind} is {{v}}. | The {lock} {kind} {{v}} | the {lock} {kind}",
        world.secret,
        f"The new {lock} {kind} is {{v}} | The {lock} {kind} has changed to {{v}}",
    )


def event(world: World, name: str, kind: str) -> Slot:
    """Return the slot of the day, the time or the place of an event."""
    if kind == "day":
        states, value = (
            f"The {name} is on {{v}} | The date of the {name} is {{v}} | On {{v}} we have the {name}",
            world.day_text,
        )
        asks = f"When is the {name}? | On which day is the {name}? | What is the date of the {name}? | What day is the {name}? | When do we have the {name}?"
        answer = f"The {name} is on {{v}}."
        if world.chance(0.3):
            value = lambda: world.pick(words.DAYS)  # noqa: E731 - the shortest way to say it
    elif kind == "time":
        states, value = (
            f"The {name} is at {{v}} | The {name} starts at {{v}} | At {{v}} the {name} begins",
            world.clock,
        )
        asks = f"At what time is the {name}? | What time is the {name}? | When does the {name} start? | At what time does the {name} start?"
        answer = f"The {name} is at {{v}}."
    else:
        states, value = (
            f"The {name} is in {{v}} | The {name} takes place in {{v}} | We hold the {name} in {{v}}",
            world.place,
        )
        asks = f"Where is the {name}? | Where does the {name} take place? | In which town is the {name}? | Do you know where the {name} is?"
        answer = f"The {name} is in {{v}}."
    return _slot(
        f"{name} {kind}",
        states,
        asks + f"| Tell me the {kind} of the {name}. | What is the {kind} of the {name}?",
        f"{answer} | {answer} | {answer[:-1]} | the {kind} of the {name}",
        value,
        f"The {name} has moved: {answer[:-1].replace('The ' + name, 'it')}",
    )


def mine(world: World, kind: str) -> Slot:
    """Return one of the slots about the user alone: name, home, job, age."""
    states, asks, texts, value, updates = _MINE[kind]
    return _slot(f"user {kind}", states, asks, texts, lambda: value(world), updates)


def _third(who: str, big: bool = True) -> str:
    text = who.replace("my ", "the user's ")
    return text[0].upper() + text[1:] if big else text


_Mine = tuple[str, str, str, Callable[[World], str], str]
_MINE: dict[str, _Mine] = {
    "name": (
        "My name is {v} | I am {v} | I'm {v} | Call me {v} | You can call me {v} | My name is {v} | I am called {v} | People call me {v}",
        "What is my name? | What's my name? | Who am I? | Do you remember my name? | Do you know my name? | Tell me my name."
        "| What am I called? | Can you tell me my name? | What was my name?",
        "Your name is {v}. | The user is called {v}. | The user called {v} | the user's name",
        World.person,
        "My new name is {v} | Please call me {v} from now on",
    ),
    "city": (
        "I live in {v} | My home is in {v} | I have a flat in {v} | I live in {v} | My house is in {v} | I'm living in {v}",
        "Where do I live? | In which city do I live? | Which city do I live in? | What city do I live in? | Do you know where I live?"
        "| Tell me where I live. | Where is my home? | Do you remember where I live? | Which town do I live in?",
        "You live in {v}. | The user lives in {v}. | The user lives in {v} | where the user lives",
        World.place,
        "I moved to {v} | I have moved to {v} | I now live in {v} | I just moved to {v}",
    ),
    "job": (
        "I work as a {v} | I am a {v} | My job is {v} | I'm a {v} | My profession is {v} | I earn my living as a {v}",
        "What is my job? | What do I do for a living? | What do I work as? | What's my job? | What is my profession? | Do you know my job?"
        "| Do you remember what I do? | What do I do?",
        "You work as a {v}. | The user works as a {v}. | The user works as {v} | the user's job",
        lambda world: world.common(words.JOBS),
        "I now work as a {v} | I have become a {v} | My new job is {v}",
    ),
    "employer": (
        "I work at {v} | I work for {v} | My employer is {v} | The company I work for is {v}",
        "Where do I work? | Who do I work for? | Which company do I work for? | Who is my employer? | What company do I work for?"
        "| Do you remember where I work?",
        "You work at {v}. | The user works at {v}. | The user works at {v} | where the user works",
        World.company,
        "I now work at {v} | My new employer is {v}",
    ),
    "age": (
        "I am {v} years old | I'm {v} years old | My age is {v} | I am {v} | I'm {v}",
        "How old am I? | What is my age? | What's my age? | Do you know how old I am? | Do you remember my age? | Tell me my age.",
        "You are {v} years old. | The user is {v} years old. | The user is {v} years old | the user's age",
        World.number,
        "I turned {v} | I am now {v} years old",
    ),
    "birthday": (
        "My birthday is on {v} | My birthday is {v} | I was born on {v} | I have my birthday on {v}",
        "When is my birthday? | When was I born? | What is my birthday? | On which day is my birthday? | Do you remember my birthday?"
        "| When's my birthday?",
        "Your birthday is on {v}. | The user's birthday is on {v}. | The birthday on {v} | the user's birthday",
        World.day_text,
        "",
    ),
    "hobby": (
        "My hobby is {v} | I like {v} in my free time | My favourite pastime is {v} | In my free time I enjoy {v}",
        "What is my hobby? | What do I like to do in my free time? | What's my hobby? | What do I enjoy in my free time?"
        "| Do you remember my hobby? | Which hobby do I have?",
        "Your hobby is {v}. | The user's hobby is {v}. | The hobby {v} | the user's hobby",
        lambda world: world.common(words.HOBBIES),
        "My new hobby is {v}",
    ),
    "allergy": (
        "I am allergic to {v} | I'm allergic to {v} | I have an allergy to {v} | My allergy is {v}",
        "What am I allergic to? | Which food am I allergic to? | Do you remember my allergy? | Do you know what I am allergic to?"
        "| What is my allergy?",
        "You are allergic to {v}. | The user is allergic to {v}. | The user is allergic to {v} | the user's allergy",
        lambda world: world.common(words.FOODS),
        "",
    ),
    "origin": (
        "I come from {v} | I was born in {v} | I am from {v} | I'm from {v} | I grew up in {v}",
        "Where do I come from? | Where was I born? | Where am I from? | Where did I grow up? | Do you remember where I am from?",
        "You come from {v}. | The user comes from {v}. | The user comes from {v} | where the user comes from",
        World.place,
        "",
    ),
    "studies": (
        "I am learning {v} | I'm learning {v} | I study {v} | I take lessons in {v}",
        "What am I learning? | What do I study? | Which language am I learning? | What am I studying? | Do you know what I study?",
        "You are learning {v}. | The user is learning {v}. | The user learns {v} | what the user learns",
        lambda world: world.common(words.LANGUAGES),
        "",
    ),
}
MINE = tuple(_MINE)
