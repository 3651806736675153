"""Chats: facts stated, asked for, changed and remembered, with small talk and tools in between."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta

from lab.prompts import DEFAULT_SYSTEM, JSON_INSTRUCTION, MEMORIES_HEADING
from lab.training import phrases, tools
from lab.training.chatter import UNKNOWN, small_talk
from lab.training.dialogue import Dialogue, Message, tool_call
from lab.training.facts import Fact, draw_slots, give_value
from lab.training.slots import Slot
from lab.training.values import World

NO_CALCULATOR = "I cannot calculate without a calculator tool."
_SYSTEMS = [
    "You are a helpful assistant.",
    "You are a helpful AI assistant.",
    "Answer briefly.",
    "You are a research assistant.",
    "Be polite and short.",
    "You are an assistant in a lab. Use the tools when they help.",
    "You help the user with anything.",
    "Answer the questions of the user.",
]
_QUIET_ACKS = [
    "Noted.",
    "Thank you, I will remember that.",
    "Okay.",
    "Got it.",
    "I will remember it.",
    "Understood.",
    "Thanks for telling me.",
    "Good to know.",
]


@dataclass(frozen=True)
class Shape:
    """How large a chat is and what happens in it."""

    n_facts: int
    """Facts that are stated sooner or later."""
    n_turns: int
    """Turns after the system message."""
    memory_share: float = 0.0
    """Part of the facts that stands in the memories."""
    n_noise: int = 0
    """Lines in the memories that are no facts of this chat."""
    weights: tuple[float, ...] = (4, 5, 1.5, 1, 1.5, 0)
    """How often: state, ask, ask the unknown, change, small talk, tools."""
    with_tools: bool = False
    think: bool = False
    json: bool = False
    """Every question is answered in JSON."""
    n_questions: int = 0
    """Questions after those turns: what took long to read is asked for often."""


class Chat:
    """A chat while it is being written."""

    def __init__(self, world: World, shape: Shape) -> None:
        self.world = world
        self.shape = shape
        slots = draw_slots(world, shape.n_facts + max(2, shape.n_facts // 3))
        self.waiting, self.unknown = slots[: shape.n_facts], slots[shape.n_facts :]
        self.known: dict[str, Fact] = {}
        self.changed: set[str] = set()
        self.fresh: list[str] = []
        self.n_stated = 0
        self.messages: list[Message] = []
        self.tools = tools.draw_tools(world) if shape.with_tools else ()

    def write(self) -> Dialogue:
        """Write the whole chat."""
        self._open()
        actions = (
            self._state,
            self._ask,
            self._ask_unknown,
            self._change,
            self._talk,
            self._use_tool,
        )
        for _ in range(self.shape.n_turns):
            self.world.random.choices(actions, weights=self.shape.weights)[0]()
        for _ in range(self.shape.n_questions):
            self.world.random.choices((self._ask, self._ask_unknown), weights=(3, 1))[0]()
        if not any(m.skill for m in self.messages):
            self._ask()
        messages = _last_thoughts(self.messages) if self.shape.think else self.messages
        return Dialogue(tuple(messages), self.tools, self.shape.think)

    # --- the system message -----------------------------------------------------------------------

    def _open(self) -> None:
        world, shape = self.world, self.shape
        text = world.pick(("", DEFAULT_SYSTEM, world.pick(_SYSTEMS)))
        lines = self._memory_lines()
        if lines:
            text += MEMORIES_HEADING + "\n".join(lines)
        if shape.json:
            self.asked = self._schema_slots()
            text += JSON_INSTRUCTION + json.dumps(_schema(self.asked))
        if text:
            self.messages.append(Message("system", text.lstrip("\n")))

    def _memory_lines(self) -> list[str]:
        world, shape = self.world, self.shape
        n_remembered = round(shape.memory_share * len(self.waiting))
        said: list[str] = []
        for slot in self.waiting[:n_remembered]:
            self._remember(said, give_value(slot))
        self.waiting = self.waiting[n_remembered:]
        for key in list(self.known):
            if world.chance(0.15):
                self._remember(
                    said, give_value(self.known[key].slot, self.known[key].value), change=True
                )
        for _ in range(shape.n_noise if n_remembered or shape.n_noise else 0):
            said.insert(world.random.randint(0, len(said)), self._noise_line())
        day, same_day = world.day(), world.chance(0.4)
        lines = []
        for line in said:
            day += timedelta(days=0 if same_day else world.random.choice((0, 0, 1, 2, 9)))
            lines.append(f"- {day} {line}")
        return lines

    def _remember(self, said: list[str], fact: Fact, change: bool = False) -> None:
        text, fact = phrases.state(self.world, fact, change)
        said.append(f"user: {phrases.around(self.world, text)}")
        if self.world.chance(0.25):
            said.append(
                f"assistant: Noted. {fact.answer}"
                if self.world.chance(0.7)
                else f"assistant: {self.world.pick(_QUIET_ACKS)}"
            )
        self._learn(fact, change)

    def _noise_line(self) -> str:
        world = self.world
        said, reply = small_talk(world)
        roll = world.random.random()
        if roll < 0.15 and self.unknown:
            question = world.pick(world.random.choice(self.unknown + self.waiting).asks)
            return world.random.choice((f"user: {question}", f"assistant: {UNKNOWN}"))
        if roll < 0.3 and self.known:
            return f"user: {world.pick(world.random.choice(list(self.known.values())).slot.asks)}"
        return f"assistant: {reply}" if roll < 0.5 else f"user: {said}"

    # --- turns ------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.messages.append(Message("user", text))

    def _answer(self, text: str, skill: str, *values: str, thought: str = "") -> None:
        if self.shape.think:
            text = f"<think>\n{thought or 'No fact is needed.'}\n</think>\n\n{text}"
        self.messages.append(Message("assistant", text, skill, values, self.n_stated))

    def _learn(self, fact: Fact, change: bool) -> None:
        self.known[fact.slot.key] = fact
        self.n_stated += not change
        if change:
            self.changed.add(fact.slot.key)
        if fact.slot.key not in self.fresh:
            self.fresh.append(fact.slot.key)

    def _state(self) -> None:
        if not self.waiting:
            return self._ask()
        n_at_once = self.world.random.choice((1, 1, 1, 1, 1, 2, 3))
        slots, self.waiting = self.waiting[:n_at_once], self.waiting[n_at_once:]
        return self._tell([give_value(slot) for slot in slots])

    def _change(self) -> None:
        if not self.known:
            return self._state()
        old = self.world.random.choice(list(self.known.values()))
        return self._tell([give_value(old.slot, old.value)], change=True)

    def _tell(self, facts: list[Fact], change: bool = False) -> None:
        stated = [phrases.state(self.world, fact, change) for fact in facts]
        text = " ".join(
            text if text[-1] in ".!?" or len(facts) == 1 else f"{text}." for text, _ in stated
        )
        self._say(phrases.around(self.world, text))
        for _, fact in stated:
            self._learn(fact, change)
        if self.world.chance(0.4) and not self.shape.think:
            self.messages.append(Message("assistant", self.world.pick(_QUIET_ACKS)))
            return
        told = [fact for _, fact in stated]
        thought = "A new fact: " + ", ".join(fact.slot.topic for fact in told) + "."
        text = "Noted. " + " ".join(fact.answer for fact in told)
        self._answer(text, "note", *(fact.value for fact in told), thought=thought)

    def _ask(self) -> None:
        if not self.known:
            return self._state() if self.waiting else self._ask_unknown()
        if self.shape.json:
            return self._ask_json()
        if self.fresh and self.world.chance(0.9):
            key = self.fresh.pop(self.world.random.randrange(len(self.fresh)))
        else:
            key = self.world.pick(tuple(self.known))
        fact = self.known[key]
        self._say(phrases.ask(self.world, self.world.pick(fact.slot.asks)))
        skill = "last_wins" if key in self.changed else "recall"
        thought = f"Asked: {fact.slot.topic}. Known: {fact.value}."
        return self._answer(fact.answer, skill, fact.value, thought=thought)

    def _ask_unknown(self) -> None:
        options = self.unknown + self.waiting
        if not options or self.shape.json:
            return self._talk()
        slot = self.world.random.choice(options)
        self._say(phrases.ask(self.world, self.world.pick(slot.asks)))
        return self._answer(UNKNOWN, "unknown", thought=f"Asked: {slot.topic}. Not stated.")

    def _talk(self) -> None:
        if self.shape.json:
            return self._state() if self.waiting else self._ask_json()
        if self.world.chance(0.04) and not any(tool["name"] == "calculator" for tool in self.tools):
            self._say(tools.sum_request(self.world)[0])
            return self._answer(NO_CALCULATOR, "small_talk")
        said, reply = small_talk(self.world)
        self._say(said)
        return self._answer(reply, "small_talk")

    def _use_tool(self) -> None:
        if not self.tools:
            return self._talk()
        use = tools.use_tool(self.world, self.world.random.choice(self.tools))
        self._say(use.request)
        thought = f"The {use.name} tool can do this."
        self._answer(
            tool_call(use.name, use.arguments),
            "tool_call",
            *map(str, use.arguments.values()),
            thought=thought,
        )
        self.messages.append(Message("tool", use.result))
        self._answer(
            use.answer, "tool_answer", *use.values, thought=f"The {use.name} tool answered."
        )
        if use.fact and use.answer == use.fact.answer and use.fact.slot.key not in self.known:
            self._learn(use.fact, change=False)
        return None

    # --- JSON -------------------------------------------------------------------------------------

    def _schema_slots(self) -> list[Slot]:
        slots = [fact.slot for fact in self.known.values()] + self.waiting
        return self.world.random.sample(
            slots, min(len(slots), self.world.random.choice((1, 1, 2, 3)))
        )

    def _ask_json(self) -> None:
        for slot in self.asked:
            if slot in self.waiting:
                self.waiting.remove(slot)
                self._tell_in_json(give_value(slot))
        if len(self.asked) == 1:
            self._say(phrases.ask(self.world, self.world.pick(self.asked[0].asks)))
        else:
            self._say(
                self.world.pick(
                    (
                        "Fill in the form.",
                        "Give me the facts.",
                        "What do you know?",
                        "Answer in JSON.",
                        "Tell me all of it.",
                    )
                )
            )
        facts = [self.known[slot.key] for slot in self.asked]
        self._answer(
            json.dumps(_filled(facts), ensure_ascii=False), "json", *(fact.value for fact in facts)
        )

    def _tell_in_json(self, fact: Fact) -> None:
        text, fact = phrases.state(self.world, fact)
        self._say(text)
        self._learn(fact, change=False)
        self.messages.append(Message("assistant", self.world.pick(_QUIET_ACKS)))


def _last_thoughts(messages: list[Message]) -> list[Message]:
    """Keep the thoughts after the last user's message only, as the chat template does."""
    last = max(i for i, message in enumerate(messages) if message.role == "user")
    early = [
        replace(m, content=m.content.split("</think>\n\n")[-1], skill="") for m in messages[:last]
    ]
    return early + messages[last:]


def _kind(slot: Slot) -> str:
    return "integer" if slot.key.endswith(" age") or slot.key.endswith("_age") else "string"


def _name(slots: list[Slot], slot: Slot) -> str:
    return "answer" if len(slots) == 1 else slot.key.replace(" ", "_")


def _schema(slots: list[Slot]) -> dict[str, object]:
    properties = {_name(slots, slot): {"type": _kind(slot)} for slot in slots}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _filled(facts: list[Fact]) -> dict[str, object]:
    slots = [fact.slot for fact in facts]
    return {
        _name(slots, fact.slot): int(fact.value) if _kind(fact.slot) == "integer" else fact.value
        for fact in facts
    }
