from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lab.pipelines.calls import parse_calls
from lab.pipelines.split import Splitter
from lab.pipelines.text import Detokeniser, StopMatcher
from lab.schemas.chat_delta import ChatDelta

CALL = '<tool_call>\n{"name": "calculator", "arguments": {"expression": "12 + 30"}}\n</tool_call>'


def byte_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([], trainer)
    return tokenizer


TOKENIZER = byte_tokenizer()


def decode(ids: list[int]) -> str:
    return TOKENIZER.decode(ids, skip_special_tokens=False)


def storable(text: str) -> str:
    """Return the text as PostgreSQL can hold it."""
    return text.replace("\0", "\ufffd")


def cut(text: str, places: list[int]) -> list[str]:
    borders = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(borders)]


def split(pieces: list[str], splitter: Splitter) -> list[ChatDelta]:
    return [delta for piece in pieces for delta in splitter.push(piece)] + splitter.finish()


def content(deltas: list[ChatDelta]) -> str:
    return "".join(delta.content for delta in deltas)


def thinking(deltas: list[ChatDelta]) -> str:
    return "".join(delta.thinking for delta in deltas)


@given(st.text(max_size=40))
def test_pieces_of_any_text_join_to_the_text(text: str) -> None:
    detokeniser = Detokeniser(decode)

    pieces = [detokeniser.push(token) for token in TOKENIZER.encode(text).ids]

    assert "".join(pieces) + detokeniser.finish() == storable(text)
    assert not any("\ufffd" in piece for piece in pieces if "\ufffd" not in storable(text))


@given(st.lists(st.integers(0, 255), max_size=30))
def test_pieces_of_any_bytes_join_to_what_decoding_at_once_gives(ids: list[int]) -> None:
    detokeniser = Detokeniser(decode)

    pieces = [detokeniser.push(token) for token in ids]

    assert "".join(pieces) + detokeniser.finish() == storable(decode(ids))


def test_a_character_comes_when_its_last_byte_does() -> None:
    detokeniser = Detokeniser(decode)

    pieces = [detokeniser.push(token) for token in TOKENIZER.encode("é!").ids]

    assert pieces == ["", "é", "!"]


def test_a_nul_becomes_a_character_that_the_database_can_hold() -> None:
    detokeniser = Detokeniser(decode)

    pieces = [detokeniser.push(token) for token in TOKENIZER.encode("a\0b").ids]

    assert "".join(pieces) + detokeniser.finish() == "a\ufffdb"


def test_hidden_tokens_have_no_text() -> None:
    (token,) = TOKENIZER.encode("a").ids

    assert Detokeniser(decode, frozenset({token})).push(token) == ""


@given(
    st.text("abcd", max_size=30),
    st.lists(st.text("abcd", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 100)),
)
def test_text_is_cut_at_the_first_stop_however_it_is_pieced(
    text: str, stops: list[str], places: list[int]
) -> None:
    matcher = StopMatcher(stops)
    out = ""
    for piece in cut(text, places):
        out += matcher.push(piece)
        if matcher.stopped:
            break
    found = [text.index(stop) for stop in stops if stop in text]

    assert matcher.stopped == bool(found)
    if found:
        # A short stop inside a longer one may end sooner; never later than the first in the text.
        assert text.startswith(out)
        assert len(out) >= min(found)
    else:
        assert out + matcher.finish() == text


@given(st.lists(st.integers(0, 300)))
def test_thinking_content_and_calls_are_told_apart_however_they_are_pieced(
    places: list[int],
) -> None:
    text = f"<think>\nTwelve and thirty.\n</think>\n\nLet me see.\n{CALL}\n{CALL}\n"

    deltas = split(cut(text, places), Splitter())

    assert thinking(deltas) == "Twelve and thirty."
    assert content(deltas) == "Let me see."
    calls = [delta.tool_call for delta in deltas if delta.tool_call]
    assert [call.arguments for call in calls] == [{"expression": "12 + 30"}] * 2
    assert calls[0].id != calls[1].id


@given(st.text(" \n<>thinktool_ca/", max_size=40), st.lists(st.integers(0, 100)))
def test_text_without_whole_markers_passes_unchanged(text: str, places: list[int]) -> None:
    if "<think>" in text or "<tool_call>" in text:
        return

    assert content(split(cut(text, places), Splitter())) == text


@pytest.mark.parametrize(
    "call",
    [
        "<tool_call>\nno json\n</tool_call>",
        '<tool_call>{"name": "calculator"}</tool_call>',
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>["calculator"]</tool_call>',
        '<tool_call>{"name": "calculator", "argu',
    ],
)
def test_a_malformed_call_is_content_as_it_was_written(call: str) -> None:
    splitter = Splitter()

    deltas = split(["So: ", call, " Well"], splitter)

    assert content(deltas) == f"So: {call} Well"
    assert splitter.n_calls == 0


def test_a_call_that_ends_with_the_answer_counts() -> None:
    deltas = split(['<tool_call>{"name": "current_time", "arguments": "{}"}'], Splitter())

    assert [delta.tool_call.name for delta in deltas if delta.tool_call] == ["current_time"]


def test_a_model_whose_template_knows_no_markers_keeps_them_as_text() -> None:
    text = "Write <think> and <tool_call>. "

    assert content(split([text], Splitter(()))) == text


def test_reasoning_that_the_prompt_opened_is_thinking() -> None:
    deltas = split(["Hm", "m.</thi", "nk>\nYes."], Splitter(thinking="<think>"))

    assert (thinking(deltas), content(deltas)) == ("Hmm.", "Yes.")


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '{"name": "", "arguments": {}}'])
def test_what_is_no_call_parses_to_none(text: str) -> None:
    assert parse_calls(text) is None
