"""
Dialogues from a file in LoCoMo's format.

It is a JSON list of samples; each has a `conversation` with sessions, their dates and turns, and
`qa`: questions with the turns that hold their answers.

References
----------
Maharana et al., "Evaluating very long-term conversational memory of LLM agents", 2024.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.errors import InputError
from lab.evals.dialogues import Asked, Dialogue, Said

KINDS = {1: "several turns", 2: "time", 3: "open domain", 4: "one turn"}
"""By category; the fifth has no answer."""
_DATE = "%I:%M %p on %d %B, %Y"


def read_dialogues(file: Path) -> list[Dialogue]:
    """
    Return the dialogues of a file with their answerable questions.

    Raises
    ------
    InputError
        If the file cannot be read or is of another format.
    """
    try:
        samples = json.loads(file.read_text("utf-8"))
        if not isinstance(samples, list):
            raise TypeError(f"a {type(samples).__name__} at the top")
        return [_dialogue(sample) for sample in samples]
    except OSError as error:
        raise InputError(
            f"Cannot read `{file}`: {error.strerror}. Name a file that the account which runs the "
            "evaluation may read."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"`{file}` is not in LoCoMo's format ({type(error).__name__}: {error}); expected a "
            "JSON list of samples with `conversation` and `qa`."
        ) from None


def _dialogue(sample: Mapping[str, Any]) -> Dialogue:
    turns = list(_turns(sample["conversation"]))
    places = {id: place for place, (id, _) in enumerate(turns)}
    asked = [
        Asked(str(qa["question"]), KINDS[qa["category"]], frozenset(_evidence(qa, places)))
        for qa in sample["qa"]
        if qa["category"] in KINDS
    ]
    return Dialogue(
        tuple(said for _, said in turns), tuple(question for question in asked if question.evidence)
    )


def _turns(conversation: Mapping[str, Any]) -> Iterator[tuple[str, Said]]:
    """Yield each turn with its id."""
    sessions = [key for key in conversation if re.fullmatch(r"session_\d+", key)]
    for session in sorted(sessions, key=lambda key: int(key.removeprefix("session_"))):
        date = datetime.strptime(conversation[f"{session}_date_time"], _DATE).replace(tzinfo=UTC)
        for turn in conversation[session]:
            shown = turn.get("blip_caption")
            text = f"{turn['text']} [shares {shown}]" if shown else turn["text"]
            yield turn["dia_id"], Said(text, date, name=turn["speaker"])


def _evidence(qa: Mapping[str, Any], places: Mapping[str, int]) -> Iterator[int]:
    for session, turn in re.findall(r"D(\d+):(\d+)", " ".join(qa.get("evidence", []))):
        key = f"D{int(session)}:{int(turn)}"
        if key in places:
            yield places[key]
