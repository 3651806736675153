"""Small talk: what people say that states no fact and asks for none."""

from lab.training import words
from lab.training.values import World

DEMO = "I am a small demonstration model and cannot say much about that."
UNKNOWN = "I don't know, you have not told me."

_FIXED: tuple[tuple[str, str], ...] = (
    (
        "Hello|Hi|Hello!|Hi there|Hey|Good morning|Good evening|Hello there!|Good afternoon|hey there",
        "Hello! How can I help you?",
    ),
    (
        "Thank you|Thanks|Thanks a lot|Thank you very much!|Great, thanks|Thanks for your help",
        "You are welcome.",
    ),
    ("Goodbye|Bye|See you later|Good night|See you tomorrow|Bye bye", "Goodbye!"),
    (
        "How are you?|How are you doing?|How do you feel today?|Are you well?|Anyway, how are you?",
        "I am fine, thank you.",
    ),
    (
        "Who are you?|What are you?|What is your name?|Are you a robot?|Introduce yourself.|Which model are you?|What's your name?|Are you human?",
        "I am lab-tiny, a small demonstration model.",
    ),
    (
        "What can you do?|How can you help me?|What are you good at?|Help|Help me|What are your skills?",
        "I can remember what you tell me, use tools and answer in JSON.",
    ),
    (
        "OK|Okay|Fine|All right|I see|Good|Great|Nice|Yes|No|Sure|Very well|Alright then|Cool|Hmm|lol",
        "Good. What else can I do for you?",
    ),
)
_STARTS = (
    "",
    "",
    "",
    "",
    "By the way, ",
    "Well, ",
    "You know, ",
    "Anyway, ",
    "Oh, ",
    "So, ",
    "Honestly, ",
)
_SEEN = (
    "The {n} was {a} today|It was a {a} {n}|I saw a {a} {n} this morning|What a {a} {n}|The {n} is so {a}|I had a {a} {n} yesterday"
    "|Today I {d} the {n}|Yesterday I {d} a {a} {n}|I was thinking about {t}|We talked about {t} at {n}|I read something about {t}"
    "|I think the {n} will be {a}|Nothing special happened today, only a {a} {n}|I am {a} today|I feel {a}|The {n} next door is {a}"
    "|My day was {a}|I {d} the {n} and then the {m}|There was a {a} {n} near the {m}|I could not find a {a} {n}|It rained all {m}"
    "|I am going to the {n} now|Everyone {d} the {n}|This {n} makes me {a}|The {n} and the {m} are {a}|I like {t}|I love a {a} {n}"
    "|I should have {d} the {n}|Later I will go to the {n}|The {m} took a {a} turn|I spent the {m} with {t}|Such a {a} {m}"
)
_ASKED = (
    "Tell me about {t}.|What do you think of {t}?|Why is the {n} {a}?|Explain {t}.|Do you like {t}?|Do you like the {n}?|How does {t} work?"
    "|Tell me a joke.|Sing a song about the {n}.|What is the meaning of {t}?|Can you explain {t} to me?|Why are {t} so {a}?"
    "|What should I do about the {n}?|Is the {n} {a}?|Have you ever seen a {a} {n}?|What makes a {n} {a}?|Should I buy a {a} {n}?"
    "|Give me advice about the {n}.|What is better, the {n} or the {m}?|Tell me something {a}.|Tell me a story about {t}.|How do I cook {t}?"
    "|Translate the {n} into French.|What happened in the {n}?|Who invented the {n}?|Write a poem about {t}.|What is a {n}?|How big is a {n}?"
)
_DONE = (
    "cleaned",
    "painted",
    "watched",
    "visited",
    "repaired",
    "sold",
    "bought",
    "enjoyed",
    "missed",
    "finished",
    "passed",
    "forgot",
    "liked",
)
SEEN_REPLY = "I see. Thank you for telling me."


def fill(world: World, template: str) -> str:
    """Fill a template of small talk."""
    noun = world.names.word() if world.chance(0.08) else world.pick(words.PLAIN_NOUNS)
    return template.format(
        n=noun,
        m=world.pick(words.PLAIN_NOUNS),
        a=world.pick(words.ADJECTIVES),
        d=world.pick(_DONE),
        t=topic(world),
    )


def topic(world: World) -> str:
    """Return something that one can talk about."""
    roll = world.random.random()
    if roll < 0.12:
        return world.names.word()
    if roll < 0.2:
        return world.names.name()
    if roll < 0.35:
        return f"{world.pick(words.ADJECTIVES)} {world.pick(words.PLAIN_NOUNS)}s"
    return world.pick(words.TOPICS)


def small_talk(world: World) -> tuple[str, str]:
    """Return something said by the way, and the polite reply to it."""
    roll = world.random.random()
    if roll < 0.3:
        said, reply = world.random.choice(_FIXED)
        return world.pick(said.split("|")), reply
    if roll < 0.7:
        text = fill(world, world.pick(_SEEN.split("|")))
        start = world.pick(_STARTS)
        text = start + (text[0].lower() + text[1:] if start and not text.startswith("I ") else text)
        if world.chance(0.15):
            text += ". " + fill(world, world.pick(_SEEN.split("|")))
        return text + world.pick((".", ".", ".", "", "!")), SEEN_REPLY
    return fill(world, world.pick(_ASKED.split("|"))), DEMO


def remark(world: World) -> str:
    """Return one sentence without meaning for facts."""
    return fill(world, world.pick(_SEEN.split("|"))) + "."
