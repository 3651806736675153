"""
What it costs to hold answers to a JSON Schema: `python -m benchmarks.structured`.

A random Llama of about 30 M parameters (`benchmarks/serve.py`) with a vocabulary of 4,096 answers
1, 8 and 32 requests at once, greedily and with 128 tokens each, free and held to a schema whose
answers are longer than that; the two in turn, the ratio is that of the median times a token. All
rows are held, which is the dearest case.

Then how long compiling a schema and finding the tokens that may come next take by themselves, for
the vocabulary of `lab-tiny` and for one of 32,000, made of Python's own library.
"""

import asyncio
import random
import statistics
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from benchmarks.random_llama import END_OF_TURN, save_random_llama, words
from benchmarks.report import Row, report
from benchmarks.serve import llama_config
from lab.pipelines.catalog import Catalog
from lab.pipelines.chat import TransformersChat
from lab.pipelines.constraint import Constraint
from lab.pipelines.grammar import Grammars
from lab.pipelines.load import load_chat
from lab.pipelines.run import run_pipeline
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task

STREAMS = (1, 8, 32)
NEW_TOKENS, ROUNDS = 128, 5
AIM = 1.15
LARGE = 32_000

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "people": {"type": "array", "items": PERSON, "minItems": 500},
    "any object": {"type": "object"},
    "a pattern": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"}},
}


async def token_ms(chat: TransformersChat, n_streams: int, **parameters: Any) -> float:
    """Return the milliseconds that a token of each of these answers took."""
    asked = [
        GenerationParameters.model_validate(
            {"max_new_tokens": NEW_TOKENS, "temperature": 0, **parameters}
        )
        for _ in range(n_streams)
    ]
    prompts = [[ChatMessage(role=Role.user, content=" ".join(words(12, i)))] for i in range(32)]
    started = time.perf_counter()
    answers = await asyncio.gather(
        *(run_pipeline(chat, prompts[i], one) for i, one in enumerate(asked))
    )
    seconds = time.perf_counter() - started
    return 1000 * seconds / max(answer.usage.completion_tokens for answer in answers)


async def overheads(chat: TransformersChat) -> dict[int, tuple[float, float]]:
    """Return the median milliseconds of a token, free and held, by the number of streams."""
    people = {"name": "people", "schema": SCHEMAS["people"]}
    form = {"type": "json_schema", "json_schema": people}
    found = {}
    for n in STREAMS:
        pairs = [
            (await token_ms(chat, n), await token_ms(chat, n, response_format=form))
            for _ in range(1 + ROUNDS)
        ][1:]
        free, held = zip(*pairs, strict=True)
        found[n] = (statistics.median(free), statistics.median(held))
    return found


def large_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of 32,000 tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LARGE,
        special_tokens=[END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    sources += sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py"))
    bpe.train_from_iterator((path.read_text(errors="ignore") for path in sources), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END_OF_TURN)


def masks_us(grammars: Grammars, schema: Any, numbers: random.Random) -> list[float]:
    """Return the microseconds that each token of some random answers took."""
    found = []
    for _ in range(20):
        constraint = Constraint(grammars.matcher(schema))
        for _ in range(100):
            started = time.perf_counter()
            bits = constraint.allowed()
            took = time.perf_counter() - started
            tokens = torch.from_numpy(bits.copy()).nonzero().squeeze(1).tolist()
            byte = numbers.choice(tokens)
            bit = numbers.choice([bit for bit in range(8) if bits[byte] >> bit & 1])
            started = time.perf_counter()
            constraint.take(8 * byte + bit)
            found.append(1e6 * (took + time.perf_counter() - started))
            if constraint.complete or constraint.problem:
                break
    return found


def alone(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Return what compiling and masks take for a vocabulary, by schema."""
    ends = frozenset([tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token))])
    grammars = Grammars(tokenizer, len(tokenizer), ends)
    started = time.perf_counter()
    grammars.matcher({"type": "null"})
    cells = {"tokenizer, ms": f"{1000 * (time.perf_counter() - started):.0f}"}
    for name, schema in SCHEMAS.items():
        started = time.perf_counter()
        grammars.matcher(schema)
        compiled = 1000 * (time.perf_counter() - started)
        taken = sorted(masks_us(grammars, schema, random.Random(0)))
        median, p99 = taken[len(taken) // 2], taken[int(0.99 * len(taken))]
        cells[name] = f"compile {compiled:.1f} ms, token {median:.0f} µs, p99 {p99:.0f} µs"
    return cells


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """Return the tokenizer of the bundled model."""
    source = Catalog(ChatConfig(), EmbeddingConfig()).chat_model("lab-tiny").source
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
    return tokenizer


def rows_of(found: dict[int, tuple[float, float]]) -> Sequence[Row]:
    """Return the overheads beside what they may be."""
    return [
        Row(f"time of a token, held to free, {n} streams", held / free, AIM, "×")
        for n, (free, held) in found.items()
    ]


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    with TemporaryDirectory() as folder:
        save_random_llama(Path(folder), llama_config())
        config = ChatConfig(model=folder, device="cpu", max_streams=max(STREAMS))
        chat = load_chat(Model(id="30m", task=Task.chat, source=folder), config)
        found = asyncio.run(overheads(chat))
        chat.close()
    figures = {
        "vocabulary of 2,048 (lab-tiny)": alone(tiny_tokenizer()),
        f"vocabulary of {LARGE:,}": alone(large_tokenizer()),
    }
    for n, (free, held) in found.items():
        cells = dict.fromkeys(figures["vocabulary of 2,048 (lab-tiny)"], "")
        figures[f"{n} streams"] = cells | {
            "people": f"a token free {free:.2f} ms, held {held:.2f} ms"
        }
    return 0 if report("structured", rows_of(found), figures) else 1


if __name__ == "__main__":
    sys.exit(main())
