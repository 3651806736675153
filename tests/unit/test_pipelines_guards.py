"""Guards stop what runs in circles, and nothing else."""

import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from lab.pipelines.guards import LEAST_REPEATED, LONGEST_PASSAGE, Watch
from lab.schemas.guard import Guard
from lab.schemas.guards_config import GuardsConfig
from lab.training.dialogue import render
from lab.training.evaluate import MODEL_FOLDER
from lab.training.mixture import KINDS, dialogues

ROOT = Path(__file__).parents[2]


def watch(*, is_json: bool = False, **settings: Any) -> Watch:
    config = GuardsConfig.model_validate(settings)
    return Watch(config, n_tokens=1000, is_json=is_json, is_drawn=True)


def stopped(one: Watch, pieces: Sequence[tuple[int, str]]) -> tuple[Guard, int] | None:
    """Return which guard stops these tokens with their texts, and at which token."""
    for n, (token, text) in enumerate(pieces, start=1):
        if guard := one.take(token, text, None):
            return guard, n
    return None


def tokens(ids: Sequence[int]) -> list[tuple[int, str]]:
    return [(i, f"{chr(97 + i % 26)}{i} ") for i in ids]


def characters(text: str) -> list[tuple[int, str]]:
    """Return a token for each character; no two tokens in a row are the same."""
    return [(2 * ord(character) + n % 2, character) for n, character in enumerate(text)]


@pytest.mark.parametrize("length", [1, 2, 7, 100, LONGEST_PASSAGE])
def test_a_passage_that_comes_again_and_again_is_stopped(length: int) -> None:
    passage = random.Random(length).sample(range(1000), length)
    before = random.Random(0).sample(range(1000), 300)

    found = stopped(watch(stutter=0), tokens(before + passage * max(8, 600 // length)))

    assert found is not None
    assert found[0] is Guard.repetition
    assert found[1] == pytest.approx(300 + max(6 * length, LEAST_REPEATED), abs=length)


def test_a_passage_that_comes_five_times_is_not() -> None:
    passage = random.Random(1).sample(range(1000), 100)

    assert stopped(watch(), tokens([*passage * 5, 1, 2, 3])) is None


def test_a_word_that_stutters_is_stopped_however_it_is_cut() -> None:
    text = "It is, it is," + " well" * 40

    whole = stopped(watch(repetition=0), [(0, text)])
    pieces = stopped(watch(repetition=0), characters(text))

    assert whole == (Guard.stutter, 1)
    assert pieces is not None
    assert pieces[0] is Guard.stutter


@pytest.mark.parametrize("text", ["0 " * 200, "string, " * 100, "- - " * 100])
def test_figures_and_lists_may_be_the_same(text: str) -> None:
    assert stopped(watch(repetition=0), characters(text)) is None


def test_runaway_surprise_is_stopped() -> None:
    """Nearly that of tokens drawn blindly, ln 1000 = 6.9 nats, for some 128 tokens."""
    blind, sure = watch(), watch()
    numbers = random.Random(0)

    def said(one: Watch, surprise: float) -> list[Guard | None]:
        found = []
        for _ in range(200):
            logprob = -surprise if one.listens else None
            found.append(one.take(numbers.randrange(1000), "", logprob))
        return found

    assert said(blind, 6.5).index(Guard.perplexity) == pytest.approx(128, abs=4)
    assert set(said(sure, 4.0)) == {None}


@pytest.mark.parametrize(
    "text",
    [
        "[" + "1, " * 100,
        '{"rows": [' + '{"a": [1, 2], "b": "x, y"},\n' * 100,
        '[["' + 'a\\"", "' * 100,
        "[" * 100,
        '{"a": [1, 2, 3], "b": ' + '{"c": ' * 100,
    ],
)
def test_json_that_loops_is_stopped(text: str) -> None:
    found = stopped(watch(is_json=True, repetition=0), characters(text))

    assert found is not None
    assert found[0] is Guard.json_loop


def test_json_of_many_elements_is_not() -> None:
    rows = [{"id": i, "tags": ["a"] * 20, "text": "a, a, a, a"} for i in range(200)]

    assert stopped(watch(is_json=True), characters(json.dumps(rows))) is None


def test_a_guard_of_zero_never_stops() -> None:
    off: dict[str, Any] = {"repetition": 0, "stutter": 0, "perplexity": 0, "json_loop": 0}

    assert stopped(watch(**off), [(7, "well ")] * 1000) is None
    assert stopped(watch(is_json=True, **off), characters("[" + "1," * 500)) is None


def test_ordinary_texts_are_never_stopped() -> None:
    """Prose, code, tables and JSON of this repository, and what `lab-tiny` is taught to say."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    paths = [*ROOT.glob("docs/*.md"), *ROOT.glob("lab/**/*.py"), *ROOT.glob("clients/*/*.d.ts")]
    texts = [path.read_text() for path in [*paths, ROOT / "README.md", ROOT / "CHANGELOG.md"]]
    taught = islice(dialogues(7, dict.fromkeys(KINDS, 1.0)), 300)
    texts += ["".join(piece.text for piece in render(dialogue)) for dialogue in taught]
    documents = [path.read_text() for path in ROOT.glob("benchmarks/results/*.json")]

    def pieces(text: str) -> list[tuple[int, str]]:
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [(token, text[start:end]) for token, (start, end) in pairs]

    assert len(texts) > 300
    for text in texts:
        assert stopped(watch(), pieces(text)) is None, text[:200]
    for text in documents:
        assert stopped(watch(is_json=True), pieces(text)) is None, text[:200]
