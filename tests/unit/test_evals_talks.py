import pytest

from lab.errors import InputError
from lab.evals.talks import Question, Talk, holds, write_talk


@pytest.fixture(scope="module")
def talk() -> Talk:
    return write_talk(n_facts=20, n_turns=100, seed=5, n_updates=6, n_replies=5, n_unknown=4)


def of_kind(talk: Talk, kind: str) -> list[Question]:
    return [question for question in talk.questions if question.kind == kind]


def test_the_same_seed_writes_the_same_talk() -> None:
    one, again, other = (write_talk(n_facts=5, n_turns=50, seed=seed) for seed in (3, 3, 4))

    assert one == again
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != other.fingerprint


def test_facts_are_spread_evenly_and_stated_where_they_say() -> None:
    talk = write_talk(n_facts=10, n_turns=100, seed=0)

    assert [question.turn for question in talk.questions] == list(range(0, 100, 10))
    for question in talk.questions:
        assert question.turn is not None
        assert talk.turns[question.turn][0] == question.stated
        assert holds(question.stated, question.value)


def test_a_talk_has_as_many_questions_of_each_kind_as_asked(talk: Talk) -> None:
    n_of_kind = {kind: len(of_kind(talk, kind)) for kind in ("updated", "replied", "unknown")}

    assert n_of_kind == {"updated": 6, "replied": 5, "unknown": 4}
    assert len(talk.questions) == 24
    assert len(talk.turns) == 100


def test_the_last_statement_of_a_changed_fact_is_the_answer(talk: Talk) -> None:
    said = [text for text, _ in talk.turns]
    for question in of_kind(talk, "updated"):
        assert question.turn is not None
        first = next(i for i, text in enumerate(said) if holds(text, question.former))
        assert first < question.turn
        assert said[question.turn] == question.stated
        assert holds(question.stated, question.value)
        assert not holds(question.stated, question.former)


def test_a_reply_tells_the_value_alone_to_the_question_before_it(talk: Talk) -> None:
    for question in of_kind(talk, "replied"):
        assert question.turn is not None
        _, asked = talk.turns[question.turn - 1]
        assert asked.endswith("?")
        assert " my " not in f" {asked.casefold()} "
        told, _ = talk.turns[question.turn]
        assert told.casefold() == f"{question.value}.".casefold()


def test_what_is_unknown_was_never_said(talk: Talk) -> None:
    for question in of_kind(talk, "unknown"):
        assert (question.value, question.stated, question.turn) == ("", "", None)


def test_questions_do_not_tell_their_answer() -> None:
    talk = write_talk(n_facts=60, n_turns=120, seed=5, n_updates=20)

    told = [q for q in talk.questions if holds(q.text, q.value) or holds(q.text, q.former or "-")]
    assert told == []


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"n_facts": 9, "n_turns": 8}, "9 statements do not fit into 8 turns"),
        ({"n_facts": 9, "n_turns": 12, "n_updates": 4}, "13 statements do not fit"),
        ({"n_facts": 4, "n_turns": 8, "n_unknown": -1}, "expected none below 0"),
        ({"n_facts": 4, "n_turns": 7, "n_replies": 1}, "they need 8"),
        ({"n_facts": 4, "n_turns": 90, "n_updates": 3, "n_replies": 2}, "state more facts"),
    ],
)
def test_a_talk_that_cannot_be_is_refused(counts: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_talk(seed=0, **counts)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Your dog is called Zamiko.", True),
        ("zamiko", True),
        ("Zamikos", False),
        ("I don't know, you have not told me.", False),
        ("", False),
    ],
)
def test_an_answer_holds_a_value_as_a_word(answer: str, right: bool) -> None:
    assert holds(answer, "Zamiko") is right
