import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab.errors import InputError
from lab.evals.dialogues import LAST, ONE, REPLY, TWO, fingerprint_of, write_dialogues
from lab.evals.locomo import read_dialogues
from lab.schemas.role import Role

SAMPLE: dict[str, Any] = {
    "conversation": {
        "speaker_a": "Ann",
        "session_10_date_time": "9:05 am on 2 June, 2023",
        "session_10": [{"speaker": "Ann", "dia_id": "D10:1", "text": "I sold it."}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Bob", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a red boat"},
            {"speaker": "Ann", "dia_id": "D2:2", "text": "Nice."},
        ],
    },
    "qa": [
        {"question": "What did Bob show?", "category": 4, "evidence": ["D2:1"], "answer": "A boat"},
        {"question": "What became of it?", "category": 1, "evidence": ["D2:1; D10:1"]},
        {"question": "Who lied?", "category": 5, "evidence": ["D2:2"]},
        {"question": "Nothing says it.", "category": 2, "evidence": []},
    ],
}


def test_a_locomo_file_is_read_in_the_order_of_its_sessions(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text(json.dumps([SAMPLE]))

    (dialogue,) = read_dialogues(file)

    assert [turn.text for turn in dialogue.said] == [
        "Look! [shares a red boat]",
        "Nice.",
        "I sold it.",
    ]
    assert dialogue.said[0].at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert (dialogue.said[0].speaker, dialogue.said[0].message.name) == ("Bob", "Bob")
    assert [(q.kind, q.evidence) for q in dialogue.asked] == [
        ("one turn", frozenset({0})),
        ("several turns", frozenset({0, 2})),
    ]


@pytest.mark.parametrize(
    "content", ["no JSON", "{}", "3", '[{"conversation": {}}]', '["text"]', "[[1]]"]
)
def test_a_file_of_another_format_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text(content)

    with pytest.raises(InputError, match=r"data\.json` is not in LoCoMo's format"):
        read_dialogues(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*nowhere.*No such file"):
        read_dialogues(tmp_path / "nowhere.json")


def test_written_dialogues_say_where_each_answer_stands() -> None:
    dialogues = write_dialogues(2, n_facts=16, n_turns=80, seed=1)

    for dialogue in dialogues:
        assert Counter(q.kind for q in dialogue.asked) == {ONE: 8, LAST: 4, REPLY: 4, TWO: 4}
        for question in dialogue.asked:
            turns = [dialogue.said[place] for place in sorted(question.evidence)]
            assert len(turns) == (2 if question.kind in (REPLY, TWO) else 1)
            assert turns[-1].role is Role.user
            if question.kind == REPLY:
                assert turns[0].role is Role.assistant


def test_written_dialogues_go_on_over_days_and_differ_by_seed() -> None:
    one, again, other = (write_dialogues(2, n_facts=4, n_turns=60, seed=seed) for seed in (0, 0, 1))

    times = [turn.at for turn in one[0].said]
    assert times == sorted(set(times))
    assert len({at.date() for at in times}) == 3
    assert one == again
    assert len({fingerprint_of([dialogue]) for dialogue in (*one, *other)}) == 4
