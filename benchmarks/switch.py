"""
What it costs to use two models in turn that do not fit together: `python -m benchmarks.switch`.

Two random Llamas of about 30 M parameters under a budget for one and a half. A switch is the time
from the request for the one that is not there to its first token: the other is evicted, the weights
are read, fused and packed, the prompt taken. Beside it, in turn in the same process, a plain reload
with transformers: the other dropped, tokenizer and weights loaded, a token generated. Then eight
clients ask both models in turn, ten times each; what counts is that each answer is whole, and how
many switches that took.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from api.garbage import FrozenImports
from benchmarks.random_llama import save_random_llama
from benchmarks.report import Row, report
from benchmarks.serve import llama_config
from lab.errors import LabError
from lab.pipelines import PipelineFactory, pipeline_factory, run_pipeline
from lab.pipelines.chat import template_message
from lab.pipelines.load import foretell_chat
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.chat_message import ChatMessage
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.role import Role
from lab.schemas.task import Task

NAMES = ("first", "second")
ROUNDS = 10
CLIENTS, ANSWERS, NEW_TOKENS = 8, 10, 16
HELLO = [ChatMessage(role=Role.user, content="Hello")]
SWITCH_AIM = 2.0


def factory_of(folders: dict[str, Path]) -> PipelineFactory:
    """Return a factory whose budget is one and a half of the models."""
    first, second = (str(folders[name]) for name in NAMES)
    chat = ChatConfig(model=first, models=[second], device="cpu")
    ahead = foretell_chat(Model(id="first", task=Task.chat, source=first), chat)
    budget = 1.5 * ahead.needs[Quantization.none].total
    return pipeline_factory(
        chat,
        EmbeddingConfig(),
        ResidencyConfig(memory_gb=budget / 1e9),
        on_import=FrozenImports(),
    )


async def switch_s(factory: PipelineFactory, name: str) -> float:
    """Return the seconds until a model that is not there gives its first token."""
    started = time.perf_counter()
    async with factory.chat(name) as chat:
        await run_pipeline(chat, HELLO, GenerationParameters(max_new_tokens=1, temperature=0))
        return time.perf_counter() - started


class Reloaded:
    """A model as transformers alone loads it, in the place of the one before."""

    def __init__(self) -> None:
        self.network: Any = None

    def reload_s(self, folder: Path) -> float:
        """Drop the model, load another and generate a token; return the seconds."""
        started = time.perf_counter()
        self.network = None
        gc.collect()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        asked = [template_message(message) for message in HELLO]
        inputs = tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            self.network.generate(**inputs, max_new_tokens=1, do_sample=False)
        return time.perf_counter() - started


async def client(factory: PipelineFactory, i: int) -> Counter[str]:
    """Ask both models in turn; return how many answers were whole, short or refused."""
    outcomes: Counter[str] = Counter()
    parameters = GenerationParameters(max_new_tokens=NEW_TOKENS, temperature=0)
    for turn in range(ANSWERS):
        message = ChatMessage(role=Role.user, content=f"Client {i}, turn {turn}.")
        try:
            async with factory.chat(NAMES[(i + turn) % 2]) as chat:
                answer = await run_pipeline(chat, [message], parameters)
        except LabError:
            outcomes["refused"] += 1
        else:
            is_whole = answer.usage.completion_tokens == NEW_TOKENS
            outcomes["whole" if is_whole else "short"] += 1
    return outcomes


async def measure(folders: dict[str, Path]) -> tuple[list[float], list[float], Counter[str], int]:
    """Return the seconds of switches and reloads, the clients' outcomes, and their switches."""
    factory = factory_of(folders)
    plain = Reloaded()
    for name in NAMES:  # to warm up
        await switch_s(factory, name)
        plain.reload_s(folders[name])
    switches, reloads = [], []
    for i in range(ROUNDS):
        name = NAMES[i % 2]
        switches.append(await switch_s(factory, name))
        reloads.append(plain.reload_s(folders[name]))
    n_before = factory.stats().evictions
    outcomes = await asyncio.gather(*(client(factory, i) for i in range(CLIENTS)))
    n_switches = factory.stats().evictions - n_before
    await factory.aclose()
    return switches, reloads, sum(outcomes, Counter()), n_switches


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    with TemporaryDirectory() as parent:
        folders = {name: Path(parent) / name for name in NAMES}
        for folder in folders.values():
            save_random_llama(folder, llama_config())
        switches, reloads, outcomes, n_switches = asyncio.run(measure(folders))
    switch, reload = statistics.median(switches), statistics.median(reloads)
    rows = [
        Row("a switch, to a plain reload", switch / reload, SWITCH_AIM, "×"),
        Row("whole answers of 80", outcomes["whole"], CLIENTS * ANSWERS, more_is_better=True),
        Row("switches for 80 answers", n_switches, 2, more_is_better=True),
    ]
    figures = {
        "lab": {"seconds": f"{switch:.3f}"},
        "plain reload": {"seconds": f"{reload:.3f}"},
    }
    return 0 if report("switch", rows, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
