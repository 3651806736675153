"""Tools: their descriptions in many wordings, requests that are due for them, and what they return."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from lab.training import slots, words
from lab.training.chatter import remark, topic
from lab.training.dialogue import Json
from lab.training.facts import Fact, give_value
from lab.training.values import World

TOOL_FAILED = "The tool failed, so I cannot tell."


@dataclass(frozen=True)
class ToolUse:
    """A request, the call that it needs, what the tool returns and what the model then says."""

    request: str
    name: str
    arguments: Json
    result: str
    answer: str
    values: tuple[str, ...]
    fact: Fact | None = None


_DESCRIPTIONS = {
    "web_search": "Search the web.|Search the web and return the best results.|Find pages on the web for a query.|Look something up on the internet.",
    "read_page": "Read a web page.|Fetch a page and return its main text.|Return the text of a web page.|Open a URL and read it.",
    "calculator": "Calculate.|Evaluate an arithmetic expression.|Do arithmetic exactly.|Compute the value of an expression.",
    "current_time": "Return the current time.|Tell the current date and time.|Look at the clock.|The date and time now.",
    "get_weather": "Get the weather of a city.|Return the current weather.|Weather report for a place.",
}
_PARAMETERS = {
    "web_search": ("query", "What to search for.|The search query.|Words to look for."),
    "read_page": ("url", "The address of the page.|The URL to read.|Which page to read."),
    "calculator": (
        "expression",
        "For example 2 * (3 + 4).|The arithmetic expression.|What to calculate.",
    ),
    "get_weather": ("city", "The name of the city.|Which city.|The place."),
}
LAB_TOOLS = ("web_search", "read_page", "calculator", "current_time")


def describe(world: World, name: str) -> Json:
    """Return the description of one tool, worded one way or another."""
    text = world.pick(_DESCRIPTIONS[name].split("|"))
    if name not in _PARAMETERS:
        return {"name": name, "description": text, "parameters": _schema(world, {})}
    parameter, meaning = _PARAMETERS[name]
    prop: dict[str, str] = {"type": "string"}
    if world.chance(0.4):
        prop["description"] = world.pick(meaning.split("|"))
    if world.chance(0.15):
        prop["title"] = parameter.capitalize()
    return {"name": name, "description": text, "parameters": _schema(world, {parameter: prop})}


def draw_tools(world: World) -> tuple[Json, ...]:
    """Draw the tools of one dialogue."""
    roll = world.random.random()
    if roll < 0.4:
        names = list(LAB_TOOLS)
    else:
        options = [*LAB_TOOLS, "get_weather"]
        names = world.random.sample(options, world.random.randint(1, 3))
    if world.chance(0.3):
        world.random.shuffle(names)
    described = [describe(world, name) for name in names]
    if roll > 0.85:
        described.append(_invented(world))
    return tuple(described)


def use_tool(world: World, tool: Json) -> ToolUse:
    """Return a use of a tool."""
    use = _USES.get(tool["name"])
    return use(world) if use else _use_invented(world, tool)


def _schema(world: World, properties: Json) -> Json:
    schema: dict[str, object] = {"type": "object", "properties": properties}
    if properties and world.chance(0.8):
        schema["required"] = list(properties)
    if world.chance(0.15):
        schema["additionalProperties"] = False
    return schema


def _invented(world: World) -> Json:
    verb, noun = (
        world.pick(("get", "find", "lookup", "send", "check", "open")),
        world.pick((world.names.word(), "order", "stock", "ticket", "user")),
    )
    parameter = world.pick(("id", "name", "text", "code", "key", world.names.word()))
    prop = {parameter: {"type": "string"}}
    return {
        "name": f"{verb}_{noun}",
        "description": f"{verb.capitalize()} a {noun}.",
        "parameters": _schema(world, prop),
    }


def _use_invented(world: World, tool: Json) -> ToolUse:
    name, parameter = tool["name"], next(iter(tool["parameters"]["properties"]))
    value, result = (
        world.pick((world.code(), world.names.name())),
        world.pick((world.names.name(), world.code())),
    )
    form = "Use {n} with {p} {v}.|Call {n} with {p} {v}.|Please use the {n} tool for {v}.|Run {n} for {v}.|Use {n} for {v}"
    request = world.pick(form.split("|")).format(n=name, p=parameter, v=value)
    return ToolUse(
        request,
        name,
        {parameter: value},
        _wrap(world, result),
        f"The result is {result}.",
        (result,),
    )


def _wrap(world: World, result: str) -> str:
    return world.pick((result, result, json.dumps({"result": result}, ensure_ascii=False)))


def _failing(world: World, use: ToolUse) -> ToolUse:
    if not world.chance(0.04):
        return use
    reason = world.pick(
        ("timeout", "not found", "no connection", "the page could not be read", "refused")
    )
    result = world.pick((f"Error: {reason}", json.dumps({"error": reason})))
    return ToolUse(use.request, use.name, use.arguments, result, TOOL_FAILED, ("failed",))


# --- arithmetic -----------------------------------------------------------------------------------

_OPERATORS: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "+": ("{a} + {b}|{a} plus {b}|{a}+{b}|the sum of {a} and {b}", lambda a, b: a + b),
    "-": ("{a} - {b}|{a} minus {b}|{a}-{b}", lambda a, b: a - b),
    "*": ("{a} * {b}|{a} times {b}|{a} multiplied by {b}|{a} x {b}", lambda a, b: a * b),
    "/": ("{a} / {b}|{a} divided by {b}", lambda a, b: round(a / b, 4)),
}
_SUMS = "What is {e}?|What is {e}?|How much is {e}?|Calculate {e}.|Compute {e}|Work out {e}.|What's {e}?|Please calculate {e}.|{e} = ?|Can you calculate {e}?"


def sum_request(world: World) -> tuple[str, str, str]:
    """Return a request for arithmetic, its expression and its result."""
    a, b = (world.random.randint(0, world.random.choice((20, 100, 1000, 9999))) for _ in range(2))
    operator = world.pick(tuple(_OPERATORS))
    b = b or 1
    forms, compute = _OPERATORS[operator]
    said, expression, result = (
        world.pick(forms.split("|")).format(a=a, b=b),
        f"{a} {operator} {b}",
        compute(a, b),
    )
    if world.chance(0.15):
        c = world.random.randint(2, 20)
        said = expression = f"({a} {operator} {b}) * {c}"
        result = round(compute(a, b) * c, 4)
    return (
        world.pick(_SUMS.split("|")).format(e=said),
        expression,
        f"{result:g}" if abs(result) < 100_000 else str(result),
    )


def _use_calculator(world: World) -> ToolUse:
    request, expression, result = sum_request(world)
    shown = world.pick(
        (_wrap(world, result), f"{expression} = {result}", f'{{"result": {result}}}')
    )
    return ToolUse(
        request,
        "calculator",
        {"expression": expression},
        shown,
        f"The result is {result}.",
        (result,),
    )


# --- the clock ------------------------------------------------------------------------------------

TIME_ASKS = "What time is it?|What's the time?|Tell me the time.|What time is it now?|Can you tell me the time?|How late is it?|Look at the clock."
DATE_ASKS = "What day is it today?|What is the date today?|What's today's date?|Which date is it?|Tell me today's date.|What date is it today?|What is today's date?"


def _use_clock(world: World) -> ToolUse:
    day, clock, zone = world.day(), world.clock(), world.pick(("", "Z", "+00:00", "+01:00"))
    seconds = world.pick(("", ":00", f":{world.random.randrange(60):02d}"))
    name = words.DAYS[day.weekday()]
    stamp = world.pick(
        (
            f"{day}T{clock}{seconds}{zone}",
            f"{day} {clock}{seconds}",
            f"{name} {day} {clock}",
            f"{name}, {day} {clock}{seconds} UTC",
        )
    )
    shown = world.pick((stamp, stamp, json.dumps({"time": stamp}), f"It is {stamp}"))
    if world.chance(0.5):
        return ToolUse(
            world.pick(TIME_ASKS.split("|")), "current_time", {}, shown, f"It is {clock}.", (clock,)
        )
    return ToolUse(
        world.pick(DATE_ASKS.split("|")), "current_time", {}, shown, f"Today is {day}.", (str(day),)
    )


# --- search and pages -----------------------------------------------------------------------------

_SEARCHES = (
    "Search the web for {q}.|Search for {q}.|Look up {q} on the web.|Please search the web for {q}.|Find {q} online.|Can you search for {q}?"
    "|Do a web search for {q}.|Search the internet for {q}.|Look up {q}.|Google {q}|web search: {q}|Please look up {q} online."
)
_READS = "Read {u} and tell me {q}.|Open {u} and tell me {q}.|Look at {u} and find {q}.|Read the page {u}: what is {q}?"
_OPENS = "Read {u}.|What does {u} say?|Open {u}|Read the page {u}.|Summarise {u}.|Please read {u}|What is on {u}?|Summarize the page {u}."


def world_fact(world: World) -> Fact:
    """Return a fact of the outside world: the capital of an invented land."""
    role = world.pick(words.ROLES)
    return give_value(slots.of_person(world, world.place(), role, world.person))


def _asked(fact: Fact) -> str:
    who, _, role = fact.slot.topic.partition("'s ")
    return f"the {role} of {who}"


def page_url(world: World) -> str:
    """Return the address of a page."""
    host = world.pick(("", "", "www.", "docs.")) + world.pick(
        (world.names.word(), world.pick(words.PLAIN_NOUNS))
    )
    path = world.pick(
        (
            "",
            "",
            f"/{world.names.word()}",
            f"/{world.pick(words.PLAIN_NOUNS)}/{world.code()}",
            f"/{world.names.word()}.html",
        )
    )
    return f"{world.pick(('https://', 'https://', 'http://'))}{host}.{world.pick(('org', 'com', 'example', 'net', 'io'))}{path}"


def _sentences(world: World, fact: Fact) -> list[str]:
    texts = [remark(world) for _ in range(world.random.randint(0, 2))]
    if world.chance(0.4):
        texts.append(world_fact(world).answer)
    texts.insert(world.random.randint(0, len(texts)), fact.answer)
    return texts


def _results(world: World, snippets: list[str]) -> str:
    rows = [
        {"title": topic(world).capitalize(), "url": page_url(world), "snippet": text}
        for text in snippets
    ]
    roll = world.random.random()
    if roll < 0.35:
        return json.dumps(rows if roll < 0.25 else {"results": rows}, ensure_ascii=False)
    if roll < 0.75:
        lines = [
            f"{i}. {row['title']}\n{row['url']}\n{row['snippet']}" for i, row in enumerate(rows, 1)
        ]
        return world.pick(("\n", "\n\n")).join(lines)
    return "\n".join(snippets)


def _use_search(world: World) -> ToolUse:
    fact = world_fact(world)
    snippets = _sentences(world, fact)
    query = _asked(fact)
    if world.chance(0.3):
        query = world.pick(
            (
                topic(world),
                f"news about {topic(world)}",
                f"{topic(world)} and {topic(world)}",
                f"{world.names.name()} {topic(world)}",
            )
        )
        answer, values = f"I found this: {snippets[0]}", (snippets[0],)
    else:
        answer, values = fact.answer, (fact.value,)
    request = world.pick(_SEARCHES.split("|")).format(q=query)
    use = ToolUse(
        request, "web_search", {"query": query}, _results(world, snippets), answer, values, fact
    )
    return _failing(world, use)


def _use_page(world: World) -> ToolUse:
    fact, url = world_fact(world), page_url(world)
    sentences = _sentences(world, fact)
    title, text = topic(world).capitalize(), " ".join(sentences)
    page = world.pick(
        (
            text,
            f"{title}\n\n{text}",
            json.dumps({"title": title, "url": url, "text": text}, ensure_ascii=False),
        )
    )
    if world.chance(0.4):
        request, answer, values = (
            world.pick(_OPENS.split("|")),
            f"The page says: {sentences[0]}",
            (sentences[0],),
        )
    else:
        request, answer, values = world.pick(_READS.split("|")), fact.answer, (fact.value,)
    use = ToolUse(
        request.format(u=url, q=_asked(fact)), "read_page", {"url": url}, page, answer, values, fact
    )
    return _failing(world, use)


def _use_weather(world: World) -> ToolUse:
    city, sky = world.place(), f"{world.pick(words.ADJECTIVES)}, {world.number()} degrees"
    forms = "What is the weather in {c}?|How is the weather in {c}?|Get the weather of {c}.|What's the weather like in {c}?"
    request = world.pick(forms.split("|")).format(c=city)
    return ToolUse(
        request,
        "get_weather",
        {"city": city},
        _wrap(world, sky),
        f'The weather in {city}: "{sky}".',  # after a quote its first word is the same tokens
        (sky,),
    )


_USES: dict[str, Callable[[World], ToolUse]] = {
    "calculator": _use_calculator,
    "current_time": _use_clock,
    "web_search": _use_search,
    "read_page": _use_page,
    "get_weather": _use_weather,
}
