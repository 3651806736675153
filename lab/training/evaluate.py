"""The skill evaluation: greedy answers in dialogues whose names were never seen in training.

One forward pass over a dialogue tells whether greedy decoding gives each expected answer word for
word; only where it does not is an answer generated and judged by what it kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from lab.errors import ModelLoadError
from lab.training.dialogue import Message
from lab.training.examples import Batch, Encoder, Example, by_length, some
from lab.training.forward import hidden_states
from lab.training.judging import CALL_START, LISTS, Rate, facts_kept, judge
from lab.training.mixture import KINDS, Mix
from lab.training.tokenizer import CONTEXT_LENGTH

MODEL_FOLDER: Final = Path(__file__).parents[1] / "models" / "lab_tiny"
EVAL_MIX: Final[Mix] = {
    **dict.fromkeys(KINDS, 1.0),
    "intent": 5.0,
    "title": 4.0,
    "summary": 2.0,
    "tools": 2.0,
}
_MAX_NEW_TOKENS = 200


@dataclass(frozen=True)
class Answer:
    """One answer of the model beside the expected one."""

    kind: str
    message: Message
    text: str
    has_tools: bool
    n_right: int
    n: int


def evaluate_tiny(
    folder: Path = MODEL_FOLDER,
    *,
    n_dialogues: int = 600,
    seed: int = 1,
    mix: Mix = EVAL_MIX,
    progress: Callable[[int, int], None] | None = None,
) -> list[Rate]:
    """Measure the skills of an exported model.

    Parameters
    ----------
    folder : Path
        Of the model and its tokenizer.
    n_dialogues : int
        How many dialogues to hold; each asks several things.
    seed : int
        Which dialogues.
    mix : mapping from kind to weight
        How often each kind of dialogue.
    progress : callable, optional
        Called with the answers judged so far and their total.

    Returns
    -------
    list of Rate
        One for each skill, by name.

    Raises
    ------
    ModelLoadError
        If the folder holds no model.
    """
    model, tokenizer = load(folder)
    return tally(
        answers(model, tokenizer, n_dialogues=n_dialogues, seed=seed, mix=mix, progress=progress)
    )


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Load an exported model in float32, the way it runs on a CPU."""
    if not (folder / "model.safetensors").is_file():
        raise ModelLoadError(
            f"There is no model.safetensors in {folder}; name a folder that `lab train tiny` has written."
        )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_dialogues: int,
    seed: int,
    mix: Mix = EVAL_MIX,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Return the model's answer wherever a dialogue expects one."""
    examples = list(some(Encoder(tokenizer), mix, seed, n_dialogues, CONTEXT_LENGTH))
    total = sum(len(example.spans) for example in examples)
    given: list[Answer] = []
    for batch in by_length(examples, batch_tokens=8192):
        said = list(_greedy(model, batch))
        prompts = [
            example.input_ids[:start] for example, start, _, as_expected in said if not as_expected
        ]
        others = iter(generate(model, tokenizer, prompts) if prompts else ())
        for example, _, message, as_expected in said:
            text = message.content if as_expected else next(others)
            n_right, n = judge(message, text)
            given.append(Answer(example.kind, message, text, example.has_tools, n_right, n))
        if progress:
            progress(len(given), total)
    return given


def _greedy(model: LlamaForCausalLM, batch: Batch) -> Iterator[tuple[Example, int, Message, bool]]:
    """Yield each expected message, where it starts, and whether greedy decoding says it word for word."""
    said = batch.weights[:, 1:] > 0
    best = batch.input_ids.clone()
    hidden = hidden_states(model, batch.input_ids[:, :-1], said)
    best[:, 1:][said] = model.lm_head(hidden).argmax(dim=-1)
    right = best == batch.input_ids
    for row, example in enumerate(batch.examples):
        for start, end, message in example.spans:
            yield example, start, message, bool(right[row, start:end].all())


@torch.no_grad()
def generate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]]
) -> list[str]:
    """Return the greedy answers to prompts of token ids, all at once."""
    longest = max(len(prompt) for prompt in prompts)
    gaps = [longest - len(prompt) for prompt in prompts]
    ids = torch.tensor(
        [[0] * gap + list(prompt) for gap, prompt in zip(gaps, prompts, strict=True)]
    )
    mask = (torch.arange(longest) >= torch.tensor(gaps)[:, None]).long()
    output = model.generate(
        ids, attention_mask=mask, max_new_tokens=_MAX_NEW_TOKENS, do_sample=False
    )
    rooms = [CONTEXT_LENGTH - len(prompt) for prompt in prompts]
    said = [row[longest : longest + room] for row, room in zip(output, rooms, strict=True)]
    return tokenizer.batch_decode(said, skip_special_tokens=True)


def tally(given: Sequence[Answer]) -> list[Rate]:
    """Count answers by skill; `no_call` counts where no tool was due although there were tools."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for answer in given:
        for skill in _rows(answer):
            right[skill] += answer.n_right
            total[skill] += answer.n
        if answer.message.skill in LISTS and answer.message.values:
            kept, n = facts_kept(answer.message, answer.text)
            right[f"{answer.message.skill}, facts kept"] += kept
            total[f"{answer.message.skill}, facts kept"] += n
        if answer.has_tools and answer.message.skill != "tool_call":
            right["no_call"] += CALL_START not in answer.text
            total["no_call"] += 1
    return [Rate(skill, right[skill], total[skill]) for skill in sorted(total)]


def _rows(answer: Answer) -> Iterator[str]:
    skill = answer.message.skill
    yield skill
    if skill == "recall":
        n_facts = answer.message.n_facts
        yield f"recall, {'1 fact' if n_facts <= 1 else '2-5 facts' if n_facts <= 5 else '6-20 facts'}"
    if skill in {"recall", "last_wins"} and answer.kind in {"memories", "distant", "lab"}:
        yield f"{skill}, {answer.kind}"
