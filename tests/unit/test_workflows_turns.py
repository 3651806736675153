"""What is embedded of a turn together with those before it."""

import pytest

from lab.workflows.turns import CONTEXT_WORDS, REPLY_WORDS, contexts_of, in_context


def said(word: str, n: int) -> str:
    """Return n different words."""
    return " ".join(f"{word}{i}" for i in range(n))


def lines(*lengths: int) -> list[list[str]]:
    """Return the words of a view of turns of so many words, turn by turn."""
    *earlier, text = (
        said(word, n) for word, n in zip("abc"[-len(lengths) :], lengths, strict=True)
    )
    return [line.split() for line in (in_context(earlier, text) or "").splitlines()]


def test_short_turns_stand_whole_in_the_views_of_the_two_after_them() -> None:
    assert contexts_of(["one", "two", "three", "four"]) == [
        None,
        "one\ntwo",
        "one\ntwo\nthree",
        "two\nthree\nfour",
    ]


@pytest.mark.parametrize("lengths", [(500, 20, 500), (5, 20, 500), (500, 20, 5), (500, 90, 20)])
def test_long_turns_leave_the_one_in_the_middle_whole(lengths: tuple[int, int, int]) -> None:
    first, middle, last = (
        set(said(word, n).split()) for word, n in zip("abc", lengths, strict=True)
    )
    words = [word for line in lines(*lengths) for word in line]

    n_kept = min(len(middle), CONTEXT_WORDS - min(len(last), REPLY_WORDS))
    assert len(words) == CONTEXT_WORDS
    assert sum(word in middle for word in words) == n_kept
    assert first | middle | last > set(words)


def test_what_is_nearest_to_the_middle_is_kept() -> None:
    before, middle, after = lines(500, 20, 500)

    assert before[-1] == "a499"
    assert (middle[0], middle[-1], after[0]) == ("b0", "b19", "c0")
    assert abs(len(before) - len(after)) <= 1


@pytest.mark.parametrize("n_reply", [1, REPLY_WORDS])
def test_a_reply_stands_with_the_end_of_the_long_turn_before_it(n_reply: int) -> None:
    middle, reply = lines(500, n_reply)

    assert (middle[-1], len(reply)) == ("b499", n_reply)
    assert len(middle) + len(reply) == CONTEXT_WORDS
