"""Passages: where a text is cut, and that nothing of it is lost."""

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.context import cut
from lab.protocols import Passage


def words(texts: Sequence[str]) -> list[int]:
    """Count words, of which an endless one is one."""
    return [len(text.split()) for text in texts]


def letters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def texts(text: str, most: int = 10) -> list[str]:
    return [passage.text for passage in cut(text, words, most_tokens=most)]


def test_a_short_text_is_one_passage() -> None:
    assert texts("  One. Two.\n\nThree.  ") == ["One. Two.\n\nThree."]


def test_passages_end_where_sentences_do() -> None:
    assert texts("A b c d e f. G h i j k l. M n o p q r.", 12) == [
        "A b c d e f. G h i j k l.",
        "M n o p q r.",
    ]


def test_a_paragraph_stays_whole_where_the_passage_before_it_is_half_full() -> None:
    assert texts("A b c d e f.\n\nG h i. J k l.") == ["A b c d e f.", "G h i. J k l."]


def test_quotes_stay_with_their_sentence() -> None:
    assert texts('He said "a b c d." She left him there.', 6) == [
        'He said "a b c d."',
        "She left him there.",
    ]


def test_a_long_sentence_is_parted_at_spaces() -> None:
    assert all(part.split()[0] in "abcdefghij" for part in texts(" ".join("abcdefghij" * 5), 8))


def test_an_endless_word_is_cut_anywhere() -> None:
    text = "x" * 10_000

    assert "".join(texts(text)) == text
    assert max(map(len, texts(text))) <= 80


def test_a_passage_knows_its_page() -> None:
    found = cut("A b.\n\nC d e. F g.\n\nH i.", words, most_tokens=4, pages=[0, 6, 19])

    assert [(passage.page, passage.text) for passage in found] == [
        (1, "A b."),
        (2, "C d e."),
        (2, "F g."),
        (3, "H i."),
    ]


def test_a_passage_ends_with_its_page() -> None:
    found = cut("A b c.\n\nD e f.", words, most_tokens=50, pages=[0, 8])

    assert [passage.text for passage in found] == ["A b c.", "D e f."]


@pytest.mark.parametrize(
    "text", ["x" * 10**6, " " * 10**6 + "x", "\n" * 10**6, ". " * (10**6 // 2)]
)
def test_odd_texts_are_cut_in_a_moment(text: str) -> None:
    started = time.process_time()

    cut(text, words, most_tokens=100)

    assert time.process_time() - started < 10


@given(
    text=st.text(alphabet=st.characters(codec="utf-8"), max_size=300)
    | st.text(alphabet="ab .!\n\"'。", max_size=300),
    most=st.integers(1, 40),
)
def test_invariants(text: str, most: int) -> None:
    for count in (words, letters):
        found: list[Passage] = cut(text, count, most_tokens=most)

        assert all(text[p.start : p.end] == p.text == p.text.strip() != "" for p in found)
        covered = [text[p.start : p.end] for p in found]
        assert "".join("".join(covered).split()) == "".join(text.split()), "nothing is lost"
        assert [p.start for p in found] == sorted(p.start for p in found)
        assert all(a.end <= b.start for a, b in pairwise(found))
        assert all(len(p.text) == 1 or count([p.text])[0] <= 2 * most for p in found)
