"""What the bundled model reads: dialogues, names, tokens."""

import json
import re
from itertools import islice
from random import Random
from typing import Any

import pytest
from transformers import AutoTokenizer

from lab.training.dialogue import Dialogue, Message, render
from lab.training.evaluate import MODEL_FOLDER
from lab.training.examples import Encoder
from lab.training.judging import facts_kept, judge
from lab.training.mixture import KINDS, dialogues
from lab.training.names import Half, Names

MIX = dict.fromkeys(KINDS, 1.0)
CALL = re.compile(r"<tool_call>\n(.*)\n</tool_call>", re.DOTALL)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL_FOLDER)


def some(seed: int, n_dialogues: int, kind: str | None = None) -> list[Dialogue]:
    return list(islice(dialogues(seed, {kind: 1.0} if kind else MIX), n_dialogues))


def test_the_same_seed_writes_the_same_dialogues() -> None:
    assert some(3, 40) == some(3, 40)
    assert some(3, 40) != some(4, 40)


def test_what_is_learned_is_what_the_chat_template_writes(tokenizer: Any) -> None:
    for dialogue in some(5, 120):
        text = tokenizer.apply_chat_template(
            dialogue.chat(),
            tools=list(dialogue.tools) or None,
            enable_thinking=dialogue.think,
            tokenize=False,
        )

        assert "".join(piece.text for piece in render(dialogue)) == text


def test_a_call_reads_the_same_whether_text_or_tool_call(tokenizer: Any) -> None:
    said = (m for d in some(2, 30, "tools") for m in d.messages if m.skill == "tool_call")
    call = next(said)
    made = json.loads(CALL.findall(call.content)[0])
    structured = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": made}],
    }
    plain = {"role": "assistant", "content": call.content}

    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}, m], tokenize=False)
        for m in (structured, plain)
    ]

    assert texts[0] == texts[1]


def test_every_call_names_a_tool_that_was_offered() -> None:
    calls = [
        (dialogue, json.loads(CALL.findall(message.content)[0]))
        for dialogue in some(7, 200, "tools")
        for message in dialogue.messages
        if message.skill == "tool_call"
    ]

    assert calls
    for dialogue, call in calls:
        (tool,) = (t for t in dialogue.tools if t["name"] == call["name"])
        assert call["arguments"].keys() == tool["parameters"]["properties"].keys()


def test_an_answer_is_in_what_came_before_it() -> None:
    for dialogue in some(11, 60, "memories"):
        for place, message in enumerate(dialogue.messages):
            if message.skill in {"recall", "last_wins"}:
                before = " ".join(m.content for m in dialogue.messages[:place]).casefold()

                assert all(value.casefold() in before for value in message.values)


def test_names_of_training_and_evaluation_never_meet() -> None:
    halves: tuple[Half, Half] = ("train", "eval")
    train, evaluation = (
        {names.word() for _ in range(2000)} for names in (Names(Random(1), half) for half in halves)
    )

    assert not train & evaluation


def test_a_name_has_the_same_tokens_wherever_it_stands(tokenizer: Any) -> None:
    name = tokenizer.encode("Zamiko", add_special_tokens=False)
    for text in ("My dog is called Zamiko.", "Zamiko is my dog", "Zamiko's age", '"Zamiko"'):
        ids = tokenizer.encode(text, add_special_tokens=False)

        assert any(ids[i : i + len(name)] == name for i in range(len(ids)))


def test_only_what_the_model_says_is_learned(tokenizer: Any) -> None:
    said = Message("assistant", "Your dog is called Zamiko.", "recall", ("Zamiko",))
    dialogue = Dialogue((Message("user", "What is my dog called?"), said))

    example = Encoder(tokenizer)(dialogue)

    learned = [i for i, weight in zip(example.input_ids, example.weights, strict=True) if weight]
    assert tokenizer.decode(learned) == f"{said.content}<|im_end|>"


@pytest.mark.parametrize(
    ("skill", "expected", "values", "answer", "right"),
    [
        ("recall", "Your cat is called Bo.", ("Bo",), "It is Bo", (1, 1)),
        ("recall", "Your cat is called Bo.", ("Bo",), "It is Bob", (0, 1)),
        ("unknown", "I don't know, …", (), "I don't know.", (1, 1)),
        ("unknown", "I don't know, …", (), "Your cat is called Bo.", (0, 1)),
        ("summary", "- A\n- B", ("A", "B"), "- A\n- B", (2, 2)),
        ("summary", "- A\n- B", ("A", "B"), "- A\n- C\n- D", (1, 3)),
        ("json", '{"a": 1}', ("1",), '{ "a":1 }', (1, 1)),
        ("json", '{"a": 1}', ("1",), '{"a": 1', (0, 1)),
        ("intent", "chat", ("chat",), "research", (0, 1)),
    ],
)
def test_answers_are_judged_by_what_they_keep(
    skill: str, expected: str, values: tuple[str, ...], answer: str, right: tuple[int, int]
) -> None:
    assert judge(Message("assistant", expected, skill, values), answer) == right


def test_a_line_too_many_loses_no_fact() -> None:
    message = Message("assistant", "- A\n- B", "summary", ("A", "B"))
    assert facts_kept(message, "- A\n- A\n- B\n- B") == (2, 2)
    assert judge(message, "- A\n- A\n- B\n- B") == (2, 4)
