"""Tool calls and reasoning in the forms of many models, however the text is pieced."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.pipelines.calls import parse_calls
from lab.pipelines.split import CALLING, THINKING, Splitter
from lab.schemas.chat_delta import ChatDelta

NAMES = ["weather", "book_flight"]
PARIS = {"city": 'Paris "the" {city}', "days": [1, 2], "now": True}
OSLO = {"city": "Oslo", "where": {"a": None}}
WRITTEN, OTHER = json.dumps(PARIS), json.dumps(OSLO)

FORMS = {
    "hermes": f'<tool_call>\n{{"name": "weather", "arguments": {WRITTEN}}}\n</tool_call>\n'
    f'<tool_call>{{"name": "book_flight", "arguments": {OTHER}}}</tool_call>',
    "hermes, arguments first": f'<tool_call>{{"arguments": {WRITTEN}, "name": "weather"}}'
    f'</tool_call><tool_call>{{"name": "book_flight", "arguments": {OTHER}}}</tool_call>',
    "hermes, a list in one": f'<tool_call>[{{"name": "weather", "arguments": {WRITTEN}}}, '
    f'{{"name": "book_flight", "arguments": {OTHER}}}]</tool_call>',
    "mistral": f'[TOOL_CALLS][{{"name": "weather", "arguments": {WRITTEN}, "id": "VvvODy9mT"}}, '
    f'{{"name": "book_flight", "arguments": {OTHER}, "id": "VvvODy9mU"}}]',
    "mistral, later": f"[TOOL_CALLS]weather[ARGS]{WRITTEN}"
    f"[TOOL_CALLS]book_flight[CALL_ID]VvvODy9mU[ARGS]{OTHER}",
    "llama 3": f'<|python_tag|>{{"name": "weather", "parameters": {WRITTEN}}}; '
    f'{{"name": "book_flight", "parameters": {OTHER}}}',
    "llama 3, bare": f'{{"name": "weather", "parameters": {WRITTEN}}}\n'
    f'{{"name": "book_flight", "parameters": {OTHER}}}',
    "llama 3.1, bare": f'{{"type": "function", "name": "weather", "parameters": {WRITTEN}}};'
    f'{{"type": "function", "name": "book_flight", "parameters": {OTHER}}}',
    "a bare list": f'[{{"name": "weather", "arguments": {WRITTEN}}},\n'
    f'{{"name": "book_flight", "arguments": {OTHER}}}]',
    "pythonic": f"[weather(city={PARIS['city']!r}, days=[1, 2], now=True), "
    "book_flight(city='Oslo', where={'a': null})]",
}
WITHOUT_MARKERS = {"llama 3, bare", "llama 3.1, bare", "a bare list", "pythonic"}


def pieces(text: str, places: list[int]) -> list[str]:
    borders = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(borders)]


def split(text: str, places: list[int], splitter: Splitter) -> list[ChatDelta]:
    written = [delta for piece in pieces(text, places) for delta in splitter.push(piece)]
    return written + splitter.finish()


def reading(thinking: str = "") -> Splitter:
    """Return a splitter as a model has it that was given tools."""
    return Splitter((*THINKING, *CALLING), thinking=thinking, names=NAMES)


def content(deltas: list[ChatDelta]) -> str:
    return "".join(delta.content for delta in deltas)


places = st.lists(st.integers(0, 500), max_size=40)


@pytest.mark.parametrize("form", FORMS)
@given(places)
def test_parallel_calls_are_read_in_every_form(form: str, places: list[int]) -> None:
    deltas = split(FORMS[form], places, reading())

    calls = [delta.tool_call for delta in deltas if delta.tool_call]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", PARIS),
        ("book_flight", OSLO),
    ]
    assert content(deltas) == ""


@pytest.mark.parametrize("form", FORMS)
@given(places)
def test_arguments_come_piece_by_piece_before_their_call(form: str, places: list[int]) -> None:
    deltas = split(FORMS[form], places, reading())

    arguments: dict[int, str] = {}
    ids: list[str] = []
    for delta in deltas:
        if piece := delta.tool_call_delta:
            arguments[piece.index] = arguments.get(piece.index, "") + piece.arguments
            ids += [piece.id] if piece.id else []
        if delta.tool_call:
            assert delta.tool_call.id == ids[-1]
            assert json.loads(arguments[len(ids) - 1]) == delta.tool_call.arguments
    assert list(arguments) == [0, 1]


def test_arguments_do_not_wait_for_their_end() -> None:
    splitter = reading()

    deltas = splitter.push('<tool_call>{"name": "weather", "arguments": {"city": "Par')

    assert next(d.tool_call_delta.name for d in deltas if d.tool_call_delta) == "weather"
    assert "".join(d.tool_call_delta.arguments for d in deltas if d.tool_call_delta) == (
        '{"city": "Par'
    )


@pytest.mark.parametrize("form", sorted(set(FORMS) - WITHOUT_MARKERS))
@given(places)
def test_what_is_said_before_a_call_is_content(form: str, places: list[int]) -> None:
    deltas = split(f"Let me see.\n{FORMS[form]}", places, reading())

    assert content(deltas) == "Let me see."
    assert sum(delta.tool_call is not None for delta in deltas) == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Paris"}',
        "[1, 2, 3]",
        "[weather] is what I need.",
        "[weather(city)]",
        "[weather(**more)]",
        '{"name": "unknown", "parameters": {}}',
        '{"name": "weather", "parameters": {"city": "Par',
        '{"name": "Ann", "age": 3}',
        "  {\n",
        "[TOOL_CALLS]no call at all",
        "<|python_tag|>print(1)",
        "[other(x=1)]",
        "Plain text with {braces} and [brackets].",
    ],
)
@given(places)
def test_what_is_no_call_is_content_as_it_was_written(text: str, places: list[int]) -> None:
    deltas = split(text, places, reading())

    assert content(deltas) == text
    assert not any(delta.tool_call for delta in deltas)


@pytest.mark.parametrize(("opening", "ending"), THINKING.items())
@given(places)
def test_reasoning_is_told_apart_by_the_markers_of_each_model(
    opening: str, ending: str, places: list[int]
) -> None:
    opened = split(f"{opening}Hm.{ending}\n\nYes.", places, reading())
    by_prompt = split(f"Hm.{ending}\n\nYes.", places, reading(thinking=opening))

    for deltas in (opened, by_prompt):
        assert "".join(delta.thinking for delta in deltas) == "Hm."
        assert content(deltas) == "Yes."


@given(places)
def test_a_call_without_markers_may_follow_reasoning(places: list[int]) -> None:
    deltas = split(f"<think>Hm.</think>\n{FORMS['pythonic']}", places, reading())

    assert "".join(delta.thinking for delta in deltas) == "Hm."
    assert sum(delta.tool_call is not None for delta in deltas) == 2


@pytest.mark.parametrize(
    "text",
    ["[f(1)]", "[f(x={1, 2})]", "[f(x=b'a')]", "f(x=1)", "[f(x=open('a'))]", "[]", "[" * 5000],
)
def test_what_is_no_pythonic_call_of_literals_is_none(text: str) -> None:
    assert parse_calls(text) is None
